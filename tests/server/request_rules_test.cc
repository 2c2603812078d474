#include "server/rpc/request_rules.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/engine_fixture.h"

namespace heatkv::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

class RequestRulesTest : public testing::Test {
 protected:
  RequestRulesTest() {
    rules_.spec = &spec_;
    rules_.offer = [this] { return TierOffer{book_, default_tier_}; };
    rules_.max_images = 4;
    rules_.max_prompt_bytes = 100;
    rules_.count_tokens = [](absl::string_view prompt) -> absl::StatusOr<int> {
      return static_cast<int>(prompt.size()) + 1;
    };
    rules_.draw_seed = [] { return std::uint64_t{77}; };
    rules_.make_request_id = [] { return std::string("made-here"); };
    request_.set_prompt("a cat");
  }

  ResolvedRequest Good(bool streams = true) {
    auto result = Resolve(request_, rules_, streams);
    EXPECT_TRUE(std::holds_alternative<ResolvedRequest>(result));
    return std::get<ResolvedRequest>(std::move(result));
  }

  std::map<std::string, std::string> Violations(bool streams = true) {
    const auto result = Resolve(request_, rules_, streams);
    std::map<std::string, std::string> found;
    if (const auto* v = std::get_if<std::vector<FieldViolation>>(&result)) {
      for (const FieldViolation& one : *v) found[one.field] = one.description;
    }
    EXPECT_FALSE(found.empty());
    return found;
  }

  const model::ModelSpec spec_ = model::FakeModel::MakeSpec();
  std::shared_ptr<const ScheduleBook> book_ = MakeFakeBook();
  std::string default_tier_ = "half";
  RequestRules rules_;
  v1::GenerateImageRequest request_;
};

TEST_F(RequestRulesTest, FillsInEveryDefault) {
  const ResolvedRequest resolved = Good();
  EXPECT_EQ(resolved.generation.prompt, "a cat");
  EXPECT_EQ(resolved.generation.ladder, 0);
  EXPECT_EQ(resolved.tier, "half");
  EXPECT_EQ(resolved.generation.tier, 1);
  EXPECT_EQ(resolved.generation.least_tier, 1);
  EXPECT_EQ(resolved.generation.book, book_);
  EXPECT_EQ(resolved.generation.priority, Priority::kNormal);
  EXPECT_EQ(resolved.generation.tenant, "");
  EXPECT_EQ(resolved.generation.request_id, "made-here");
  EXPECT_THAT(resolved.generation.seeds, ElementsAre(77));
  EXPECT_EQ(resolved.generation.guidance, spec_.defaults.guidance);
  EXPECT_EQ(resolved.generation.tau, spec_.defaults.tau);
  EXPECT_EQ(resolved.generation.top_p, spec_.defaults.top_p);
  EXPECT_EQ(resolved.request_id, "made-here");
  EXPECT_EQ(resolved.encoding.format, ImageFormat::kPng);
  EXPECT_EQ(resolved.width, 24);
  EXPECT_EQ(resolved.height, 24);
  EXPECT_TRUE(resolved.generation.preview_after.empty());
}

TEST_F(RequestRulesTest, TakesWhatIsGivenEvenIfItIsZero) {
  request_.set_seed(0);
  request_.set_n(2);
  request_.set_guidance(0);
  request_.set_tau(0.25);
  const ResolvedRequest resolved = Good();
  EXPECT_THAT(resolved.generation.seeds, ElementsAre(0, 1));
  EXPECT_EQ(resolved.generation.guidance, 0);
  EXPECT_EQ(resolved.generation.tau, 0.25);
}

TEST_F(RequestRulesTest, FindsSizesByAspectClassOrPixels) {
  request_.mutable_size()->set_aspect("1:2");
  EXPECT_EQ(Good().generation.ladder, 1);
  request_.mutable_size()->Clear();
  request_.mutable_size()->set_width(32);
  request_.mutable_size()->set_height(16);
  EXPECT_EQ(Good().generation.ladder, 1);
  request_.mutable_size()->set_aspect("1:1");
  EXPECT_THAT(Violations()["size"],
              HasSubstr("1:1 tiny (24x24), 1:2 tiny (32x16)"));
}

TEST_F(RequestRulesTest, ThePromptIsMeasuredInBytesAndTokens) {
  request_.set_prompt(std::string(63, 'x'));
  EXPECT_EQ(Good().generation.prompt.size(), 63);
  request_.set_prompt(std::string(64, 'x'));
  EXPECT_EQ(Violations()["prompt"],
            "has 65 tokens, the model takes at most 64");
  request_.set_prompt(std::string(101, 'x'));
  EXPECT_EQ(Violations()["prompt"], "has 101 bytes, at most 100 are taken");
}

TEST_F(RequestRulesTest, PreviewsNameScalesAndNeedAStream) {
  request_.mutable_previews()->add_scales(2);
  request_.mutable_previews()->add_scales(5);  // the image itself
  EXPECT_THAT(Good().generation.preview_after,
              ElementsAre(false, true, false, false, false));
  request_.mutable_previews()->set_every_scale(true);
  EXPECT_THAT(Good().generation.preview_after,
              ElementsAre(true, true, true, true, false));
  EXPECT_THAT(Violations(false)["previews"], HasSubstr("Stream"));
  request_.mutable_previews()->add_scales(6);
  EXPECT_EQ(Violations()["previews.scales"], "must be 1 to 5, but one is 6");
}

TEST_F(RequestRulesTest, ALowerTierMayBeAllowedButNoneOfMoreBytes) {
  request_.set_tier("full");
  request_.mutable_memory_policy()->set_allow_down_to("half");
  EXPECT_EQ(Good().generation.tier, 0);
  EXPECT_EQ(Good().generation.least_tier, 1);
  request_.mutable_memory_policy()->set_allow_down_to("full");
  EXPECT_EQ(Good().generation.least_tier, 0);
  request_.set_tier("half");
  EXPECT_EQ(Violations()["memory_policy.allow_down_to"],
            "tier \"full\" keeps 1 of the full cache, more than tier \"half\", "
            "which keeps 0.5");
  request_.mutable_memory_policy()->set_allow_down_to("gold");
  EXPECT_THAT(Violations()["memory_policy.allow_down_to"],
              HasSubstr("no tier \"gold\"; there are: full, half"));
}

TEST_F(RequestRulesTest, ADefaultTierThatIsGoneIsNamed) {
  default_tier_ = "gone";
  EXPECT_THAT(Violations()["tier"], HasSubstr("no tier \"gone\""));
}

TEST_F(RequestRulesTest, ARequestKeepsTheBookThatItWasJudgedBy) {
  const ResolvedRequest before = Good();
  const auto old_book = book_;
  book_ = std::make_shared<const ScheduleBook>(*old_book);
  EXPECT_EQ(before.generation.book, old_book);
  EXPECT_EQ(Good().generation.book, book_);
}

TEST_F(RequestRulesTest, PriorityAndTenantAreTaken) {
  request_.set_priority(v1::PRIORITY_HIGH);
  request_.set_tenant(std::string(64, 't'));
  EXPECT_EQ(Good().generation.priority, Priority::kHigh);
  EXPECT_EQ(Good().generation.tenant, std::string(64, 't'));
  request_.set_priority(v1::PRIORITY_LOW);
  EXPECT_EQ(Good().generation.priority, Priority::kLow);
  request_.set_tenant(std::string(65, 't'));
  request_.set_priority(static_cast<v1::Priority>(9));
  const auto found = Violations();
  EXPECT_THAT(found.at("tenant"), HasSubstr("at most 64"));
  EXPECT_THAT(found.at("priority"), HasSubstr("9"));
}

TEST_F(RequestRulesTest, ListsEveryViolationAtOnce) {
  request_.set_prompt("");
  request_.set_negative_prompt("blur");
  request_.set_model("other");
  request_.set_n(5);
  request_.set_tier("gold");
  request_.set_guidance(std::numeric_limits<double>::quiet_NaN());
  request_.set_tau(-1);
  request_.set_top_p(2);
  request_.set_format(static_cast<v1::ImageFormat>(9));
  request_.set_quality(10);
  request_.set_request_id("line\nbreak");
  request_.set_tenant("with space");
  request_.mutable_memory_policy()->set_allow_down_to("iron");
  (*request_.mutable_tags())[""] = "x";
  std::vector<std::string> fields;
  for (const auto& [field, text] : Violations()) fields.push_back(field);
  EXPECT_THAT(fields,
              UnorderedElementsAre("prompt", "negative_prompt", "model", "n",
                                   "tier", "guidance", "tau", "top_p", "format",
                                   "quality", "request_id", "tags", "tenant",
                                   "memory_policy.allow_down_to"));
}

TEST_F(RequestRulesTest, QualityBelongsToLossyFormats) {
  request_.set_format(v1::IMAGE_FORMAT_JPEG);
  request_.set_quality(42);
  EXPECT_EQ(Good().encoding.quality, 42);
  request_.set_quality(101);
  EXPECT_THAT(Violations()["quality"], HasSubstr("101"));
}

TEST_F(RequestRulesTest, TagsAreBounded) {
  for (int i = 0; i < 17; ++i) {
    (*request_.mutable_tags())[absl::StrCat("k", i)] = "v";
  }
  EXPECT_EQ(Violations()["tags"], "there are 17, at most 16 are taken");
}

}  // namespace
}  // namespace heatkv::server
