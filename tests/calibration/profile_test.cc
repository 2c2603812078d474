#include "calibration/profile.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv::calibration {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// 1 layer of 2 heads; source scales 1 and 2.
std::string Text() {
  return absl::StrCat(
      R"({"format": "heatkv-profile-1", "model_sha256": ")",
      std::string(64, 'a'),
      R"(", "ladder": {"aspect": "1:1", "pixel_class": "128",)",
      R"( "scales": [[1, 1], [2, 2], [3, 3], [4, 4]]}, "sink_scales": 1,)",
      R"( "layers": 1, "heads": 2, "prompts": 10, "prompts_sha256": ")",
      std::string(64, '0'), R"(", "tool": "calibrate 1",)",
      R"( "scores": {"1": [[0.5, 0.25]], "2": [[0.125, 0.125]]},)",
      R"( "ranking": {"1": [[1, 0], [0, 0]], "2": [[0, 0], [1, 0]]}})");
}

std::string Refusal(const std::string& from, const std::string& to) {
  const std::string text = absl::StrReplaceAll(Text(), {{from, to}});
  EXPECT_NE(text, Text()) << from;
  const absl::Status status = ParseProfile(text, "p.json").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << to;
  return std::string(status.message());
}

TEST(ProfileTest, ReadsEveryMember) {
  const absl::StatusOr<Profile> profile = ParseProfile(Text(), "p.json");
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_EQ(profile->model_sha256, std::string(64, 'a'));
  EXPECT_EQ(profile->aspect, "1:1");
  EXPECT_EQ(profile->pixel_class, "128");
  EXPECT_EQ(profile->ladder.num_scales(), 4);
  EXPECT_EQ(profile->ladder.sink_scales(), 1);
  EXPECT_EQ(profile->layers(), 1);
  EXPECT_EQ(profile->heads(), 2);
  EXPECT_EQ(profile->prompts, 10);
  EXPECT_EQ(profile->prompts_sha256, std::string(64, '0'));
  EXPECT_EQ(profile->tool, "calibrate 1");
  EXPECT_THAT(profile->scores,
              ElementsAre(ElementsAre(0.5, 0.25), ElementsAre(0.125, 0.125)));
  EXPECT_EQ(profile->ranking.first_source_scale(), 1);
  EXPECT_THAT(profile->ranking.order(1),
              ElementsAre(cache::HeadIndex{0, 1}, cache::HeadIndex{0, 0}));
}

TEST(ProfileTest, MissingAndUnknownMembersAreNamed) {
  EXPECT_THAT(Refusal(R"("tool": "calibrate 1",)", ""),
              HasSubstr("'tool' is missing"));
  EXPECT_THAT(Refusal(R"("tool":)", R"("extra": 1, "tool":)"),
              HasSubstr("'extra' is not known"));
  EXPECT_THAT(Refusal(R"("aspect": "1:1", )", ""),
              HasSubstr("ladder: 'aspect' is missing"));
}

TEST(ProfileTest, OtherFormatsAreRefused) {
  EXPECT_THAT(
      Refusal("heatkv-profile-1", "heatkv-profile-2"),
      AllOf(HasSubstr("heatkv-profile-1"), HasSubstr("heatkv-profile-2")));
}

TEST(ProfileTest, ScoreThatIsNoFiniteNumberIsRefused) {
  EXPECT_THAT(
      Refusal("0.25", "null"),
      AllOf(HasSubstr("source scale 1, layer 0, head 1"), HasSubstr("null")));
  EXPECT_THAT(Refusal("0.25", "NaN"), HasSubstr("no valid JSON"));
  EXPECT_THAT(Refusal("0.25", "1e999"), HasSubstr("no valid JSON"));
}

TEST(ProfileTest, CountsThatDoNotFitNameBothNumbers) {
  EXPECT_THAT(Refusal(R"("heads": 2)", R"("heads": 3)"),
              AllOf(HasSubstr("2 heads"), HasSubstr("has 3")));
  EXPECT_THAT(Refusal(R"("layers": 1)", R"("layers": 2)"),
              AllOf(HasSubstr("1 layers"), HasSubstr("has 2")));
  EXPECT_THAT(Refusal(R"("sink_scales": 1)", R"("sink_scales": 2)"),
              AllOf(HasSubstr("2 source scales"), HasSubstr("has 1")));
  EXPECT_THAT(Refusal(R"("2": [[0.125)", R"("3": [[0.125)"),
              HasSubstr("source scale 2 is missing"));
}

TEST(ProfileTest, RankingThatContradictsTheScoresIsRefused) {
  EXPECT_THAT(Refusal("[[1, 0], [0, 0]]", "[[0, 0], [1, 0]]"),
              AllOf(HasSubstr("source scale 1, position 1"),
                    HasSubstr("0.25 after 0.5")));
  EXPECT_THAT(Refusal("[[1, 0], [0, 0]]", "[[1, 0], [1, 0]]"),
              HasSubstr("0 and 1"));
}

TEST(ProfileTest, BadHashesAndLaddersAreRefused) {
  EXPECT_THAT(Refusal(std::string(64, 'a'), "abc"),
              AllOf(HasSubstr("model_sha256"), HasSubstr("64")));
  EXPECT_THAT(Refusal("[2, 2]", "[2]"), HasSubstr("ladder.scales[1]"));
  EXPECT_THAT(Refusal("[4, 4]", "[2, 4]"), HasSubstr("smaller than scale 2"));
  EXPECT_THAT(Refusal(R"("prompts": 10)", R"("prompts": 0)"),
              AllOf(HasSubstr("prompts"), HasSubstr("but is 0")));
}

TEST(ProfileTest, MissingFileIsNotFound) {
  EXPECT_EQ(ReadProfile("no/such/profile.json").status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace heatkv::calibration
