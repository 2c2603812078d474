#include "client/bench/mix.h"

#include <map>
#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv::client {
namespace {

std::vector<MixEntry> Entries(const char* text) {
  const auto entries = ParseMix(text, {});
  EXPECT_TRUE(entries.ok()) << entries.status();
  return *entries;
}

TEST(MixTest, ReadsWeightsIdsAndFields) {
  v1::GenerateImageRequest defaults;
  defaults.set_tier("high");
  const auto entries = ParseMix(
      "{\"prompt\": \"a\", \"weight\": 3, \"id\": \"x\", \"n\": 2}\n\n"
      "{\"prompt\": \"b\", \"tier\": \"full\"}\n",
      defaults);
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 2);
  EXPECT_EQ((*entries)[0].id, "x");
  EXPECT_EQ((*entries)[0].weight, 3);
  EXPECT_EQ((*entries)[0].request.n(), 2);
  EXPECT_EQ((*entries)[0].request.tier(), "high");
  EXPECT_EQ((*entries)[1].id, "line 3");
  EXPECT_EQ((*entries)[1].weight, 1);
  EXPECT_EQ((*entries)[1].request.tier(), "full");
}

TEST(MixTest, NamesEveryBadLine) {
  EXPECT_EQ(ParseMix("[]\n{\"prompt\": \"a\", \"weight\": 0}\n{\"id\": \"x\"}\n"
                     "{\"prompt\": \"a\", \"id\": 4}\n"
                     "{\"prompt\": \"a\", \"tear\": \"high\"}",
                     {})
                .status()
                .message(),
            "line 1: is no JSON object\n"
            "line 2: weight must be a number above 0\n"
            "line 3: has no prompt\n"
            "line 4: id must be text\n"
            "line 5: unknown key \"tear\"");
  EXPECT_EQ(ParseMix(" \n", {}).status().message(),
            "there is no line with a request");
}

TEST(MixTest, PromptsAreLinesOfText) {
  const auto entries = ParsePrompts(" a cat \r\n\ntwo dogs", {});
  ASSERT_TRUE(entries.ok());
  ASSERT_EQ(entries->size(), 2);
  EXPECT_EQ((*entries)[0].request.prompt(), "a cat");
  EXPECT_EQ((*entries)[1].request.prompt(), "two dogs");
}

TEST(MixTest, DrawsByWeight) {
  const Mix mix(Entries("{\"prompt\": \"a\", \"weight\": 1}\n"
                        "{\"prompt\": \"b\", \"weight\": 3}\n"),
                {}, 5);
  EXPECT_FALSE(mix.size().has_value());
  int b = 0;
  for (int i = 0; i < 10000; ++i) {
    b += mix.At(i).request.prompt() == "b" ? 1 : 0;
  }
  EXPECT_NEAR(b, 7500, 5 * 44);
}

TEST(MixTest, ReplaySendsEachLineOnceInOrder) {
  const Mix mix = Mix::Replay(Entries("{\"prompt\": \"a\", \"weight\": 9}\n"
                                      "{\"prompt\": \"b\", \"seed\": 4}\n"),
                              1);
  EXPECT_EQ(mix.size(), 2);
  EXPECT_EQ(mix.At(0).request.prompt(), "a");
  EXPECT_EQ(mix.At(1).request.prompt(), "b");
  EXPECT_EQ(mix.At(1).request.seed(), 4);
}

TEST(MixTest, EveryRequestHasASeedOfItsOwn) {
  const Mix mix(Entries("{\"prompt\": \"a\"}"), {}, 1);
  std::set<std::uint64_t> seeds;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(mix.At(i).request.has_seed());
    seeds.insert(mix.At(i).request.seed());
  }
  EXPECT_EQ(seeds.size(), 1000);
  const Mix seeded(Entries("{\"prompt\": \"a\", \"seeds\": [1, 2]}"), {}, 1);
  EXPECT_FALSE(seeded.At(0).request.has_seed());
}

TEST(MixTest, FieldsAreDrawnOverTheTemplates) {
  FieldChoices choices;
  choices.tiers = {"full", "high"};
  choices.images = {1, 2, 3};
  choices.priorities = {v1::PRIORITY_LOW, v1::PRIORITY_HIGH};
  choices.preview_share = 0.3;
  const Mix mix(Entries("{\"prompt\": \"a\", \"tier\": \"economy\"}"), choices,
                2);
  std::map<std::string, int> tiers;
  std::map<int, int> images;
  int previews = 0;
  for (int i = 0; i < 6000; ++i) {
    const v1::GenerateImageRequest request = mix.At(i).request;
    ++tiers[request.tier()];
    ++images[request.n()];
    EXPECT_NE(request.priority(), v1::PRIORITY_UNSPECIFIED);
    previews += request.previews().every_scale() ? 1 : 0;
  }
  EXPECT_EQ(tiers.size(), 2);
  EXPECT_NEAR(tiers["full"], 3000, 5 * 39);
  EXPECT_EQ(images.size(), 3);
  EXPECT_NEAR(images[2], 2000, 5 * 37);
  EXPECT_NEAR(previews, 1800, 5 * 36);
}

TEST(MixTest, AnotherListChangesNoOtherField) {
  FieldChoices few;
  few.tiers = {"full", "high", "standard"};
  FieldChoices more = few;
  more.tenants = {"a", "b"};
  more.guidances = {1, 3};
  const Mix one(DefaultPrompts({}), few, 9), two(DefaultPrompts({}), more, 9);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(one.At(i).request.tier(), two.At(i).request.tier());
    EXPECT_EQ(one.At(i).request.seed(), two.At(i).request.seed());
    EXPECT_EQ(one.At(i).request.prompt(), two.At(i).request.prompt());
  }
}

}  // namespace
}  // namespace heatkv::client
