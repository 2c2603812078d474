#include "base/spread.h"

#include <numeric>

#include "gtest/gtest.h"

namespace heatkv {
namespace {

TEST(SpreadTest, TakesTheNearestRank) {
  std::vector<double> values(100);
  std::iota(values.rbegin(), values.rend(), 1);  // 100 down to 1
  const Spread spread = SpreadOf(values);
  EXPECT_EQ(spread.count, 100);
  EXPECT_EQ(spread.mean, 50.5);
  EXPECT_EQ(spread.p50, 50);
  EXPECT_EQ(spread.p95, 95);
  EXPECT_EQ(spread.p99, 99);
  EXPECT_EQ(spread.max, 100);
}

TEST(SpreadTest, FewValuesStandForAllPercentiles) {
  const Spread one = SpreadOf({3});
  EXPECT_EQ(one.p50, 3);
  EXPECT_EQ(one.p99, 3);
  const Spread two = SpreadOf({5, 4});
  EXPECT_EQ(two.p50, 4);
  EXPECT_EQ(two.p95, 5);
  EXPECT_EQ(SpreadOf({}).count, 0);
}

}  // namespace
}  // namespace heatkv
