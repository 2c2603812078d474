#include "client/bench/arrivals.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace heatkv::client {
namespace {

std::vector<double> Gaps(double rate, std::uint64_t seed, int count) {
  Arrivals arrivals(rate, seed);
  std::vector<double> gaps;
  double before = 0;
  for (int i = 0; i < count; ++i) {
    const double now = absl::ToDoubleSeconds(arrivals.Next());
    gaps.push_back(now - before);
    before = now;
  }
  return gaps;
}

TEST(ArrivalsTest, GapsAreExponentialWithTheRatesMean) {
  constexpr int kCount = 100000;
  const std::vector<double> gaps = Gaps(4, 1, kCount);
  double sum = 0, squares = 0;
  int longer_than_mean = 0;
  for (const double gap : gaps) {
    ASSERT_GE(gap, 0);
    sum += gap;
    squares += gap * gap;
    longer_than_mean += gap > 0.25 ? 1 : 0;
  }
  // Mean 1/rate, second moment 2/rate^2, P(gap > mean) = 1/e; five standard
  // errors each.
  EXPECT_NEAR(sum / kCount, 0.25, 5 * 0.25 / std::sqrt(kCount));
  EXPECT_NEAR(squares / kCount, 0.125,
              5 * std::sqrt(20.0) / 16 / std::sqrt(kCount));
  EXPECT_NEAR(1.0 * longer_than_mean / kCount, std::exp(-1),
              5 * 0.5 / std::sqrt(kCount));
}

TEST(ArrivalsTest, TheSeedDecidesEverything) {
  EXPECT_EQ(Gaps(2, 7, 50), Gaps(2, 7, 50));
  EXPECT_NE(Gaps(2, 7, 50), Gaps(2, 8, 50));
}

}  // namespace
}  // namespace heatkv::client
