#include "cache/budget.h"

#include <cmath>
#include <limits>
#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache/random_case.h"

namespace heatkv::cache {
namespace {

using ::testing::HasSubstr;

struct PublishedCounts {
  int layers;
  int heads;
  const char* budget;
  std::map<int, int> heads_dropped;  // target scale -> x_t; others 0
};

// The counts of the authors' schedules for Infinity-2B (32 layers of 16 heads)
// and -8B (40 of 28) at 1024x1024 with 3 sink scales.
const PublishedCounts kPublished[] = {
    {32, 16, "0.20", {{9, 74}, {10, 254}, {11, 355}, {12, 411}}},
    {32, 16, "0.10", {{8, 159}, {9, 297}, {10, 385}, {11, 435}, {12, 463}}},
    {32,
     16,
     "0.05",
     {{7, 205}, {8, 342}, {9, 408}, {10, 451}, {11, 475}, {12, 488}}},
    {32,
     16,
     "0.04",
     {{6, 17}, {7, 271}, {8, 378}, {9, 431}, {10, 464}, {11, 483}, {12, 494}}},
    {40, 28, "0.20", {{9, 161}, {10, 554}, {11, 775}, {12, 899}}},
    {40, 28, "0.10", {{8, 347}, {9, 649}, {10, 842}, {11, 951}, {12, 1012}}},
    {40,
     28,
     "0.05",
     {{7, 448}, {8, 747}, {9, 893}, {10, 986}, {11, 1038}, {12, 1068}}},
    {40,
     28,
     "0.04",
     {{6, 37},
      {7, 592},
      {8, 827},
      {9, 941},
      {10, 1015},
      {11, 1056},
      {12, 1079}}},
};

TEST(BudgetTest, DropsAsManyHeadsAsTheAuthorsDo) {
  const ScaleLadder ladder = InfinityLadder();
  for (const PublishedCounts& published : kPublished) {
    const Budget budget = *Budget::Parse(published.budget);
    for (int t = 0; t < ladder.num_scales(); ++t) {
      const auto found = published.heads_dropped.find(t);
      const int expected =
          found == published.heads_dropped.end() ? 0 : found->second;
      EXPECT_EQ(
          budget.heads_to_drop(ladder, published.layers, published.heads, t),
          expected)
          << published.layers << " layers, budget " << published.budget
          << ", target scale " << t;
    }
  }
}

TEST(BudgetTest, BudgetOf650TokensDropsAsManyHeadsAsTheAuthorsDo) {
  const ScaleLadder ladder = InfinityLadder();
  const Budget budget = *Budget::Create(650.0 / 6425.0);
  const std::map<int, int> expected = {{7, 0},    {8, 155},  {9, 294},
                                       {10, 384}, {11, 434}, {12, 462}};
  for (const auto& [t, heads] : expected) {
    EXPECT_EQ(budget.heads_to_drop(ladder, 32, 16, t), heads) << t;
  }
}

TEST(BudgetTest, CountsTokensOfAHeadAndOfTheModel) {
  const ScaleLadder ladder = InfinityLadder();
  const Budget budget = *Budget::Parse("0.1");
  EXPECT_DOUBLE_EQ(budget.tokens_a_head(ladder), 642.5);
  EXPECT_DOUBLE_EQ(budget.model_tokens(ladder, 32, 16), 642.5 * 512);
}

TEST(BudgetTest, RefusesWhatIsNoFraction) {
  EXPECT_FALSE(Budget::Create(-0.01).ok());
  EXPECT_FALSE(Budget::Create(std::nan("")).ok());
  EXPECT_FALSE(Budget::Create(std::numeric_limits<double>::infinity()).ok());
  EXPECT_THAT(std::string(Budget::Create(1.5).status().message()),
              HasSubstr("[0, 1], but is 1.5"));
  EXPECT_THAT(std::string(Budget::Parse("10 %").status().message()),
              HasSubstr("'10 %'"));
  EXPECT_FALSE(Budget::Parse("").ok());
  EXPECT_FALSE(Budget::Parse("nan").ok());
  EXPECT_TRUE(Budget::Create(0.0).ok());
  EXPECT_TRUE(Budget::Create(1.0).ok());
}

TEST(BudgetTest, PrintsTheShortestDecimalThatReadsBack) {
  for (const char* text : {"0.1", "0.04", "1", "0", "0.3333333333333333"}) {
    EXPECT_EQ(Budget::Parse(text)->ToString(), text);
  }
  EXPECT_EQ(*Budget::Parse("0.10"), *Budget::Parse("0.1"));
}

TEST(BudgetTest, SinksFitABudgetThatRoundingAloneMakesSmaller) {
  const ScaleLadder ladder = InfinityLadder();
  const double exactly = 21.0 / 6425.0;
  EXPECT_FALSE(Budget::Create(exactly)->is_below_sinks(ladder));
  EXPECT_FALSE(Budget::Create(exactly - 1e-13)->is_below_sinks(ladder));
  EXPECT_TRUE(Budget::Create(exactly - 1e-11)->is_below_sinks(ladder));
}

}  // namespace
}  // namespace heatkv::cache
