#include "cache/ladder.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache/random_case.h"

namespace heatkv::cache {
namespace {

using ::testing::HasSubstr;

std::string Refusal(std::vector<Grid> grids, int sink_scales) {
  return std::string(
      ScaleLadder::Create(std::move(grids), sink_scales).status().message());
}

TEST(LadderTest, CountsTheTokensOfInfinityAtOneMegapixel) {
  const ScaleLadder ladder = InfinityLadder();
  EXPECT_EQ(ladder.num_scales(), 13);
  EXPECT_EQ(ladder.tokens(12), 4096);
  EXPECT_EQ(ladder.tokens_before(0), 0);
  EXPECT_EQ(ladder.tokens_before(8), 921);
  EXPECT_EQ(ladder.tokens_before(13), 10521);
  EXPECT_EQ(ladder.full_tokens(), 6425);
  EXPECT_EQ(ladder.sink_tokens(), 21);
  EXPECT_EQ(ladder.first_prunable(), 3);
  EXPECT_EQ(ladder.end_prunable(), 12);
}

TEST(LadderTest, RefusesLaddersThatNoModelHas) {
  EXPECT_THAT(Refusal({{1, 1}}, 1), HasSubstr("at least 2 scales, but has 1"));
  EXPECT_THAT(Refusal({{1, 1}, {0, 2}}, 1), HasSubstr("scale 1"));
  EXPECT_THAT(Refusal({{1, 1}, {4, 4}, {5, 3}}, 1),
              HasSubstr("scale 2: 5x3 is smaller than scale 1: 4x4"));
  EXPECT_THAT(Refusal({{1, 1}, {2, 2}, {3, 3}}, 3),
              HasSubstr("[1, 2] for a ladder of 3, but are 3"));
  EXPECT_THAT(Refusal({{1, 1}, {2, 2}}, 0), HasSubstr("but are 0"));
}

TEST(LadderTest, EqualLaddersCompareEqual) {
  EXPECT_EQ(InfinityLadder(), InfinityLadder());
  EXPECT_FALSE(SquareLadder({1, 2, 3}, 1) == SquareLadder({1, 2, 3}, 2));
}

}  // namespace
}  // namespace heatkv::cache
