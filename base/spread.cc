#include "base/spread.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

namespace heatkv {

Spread SpreadOf(std::vector<double> values) {
  Spread spread;
  if (values.empty()) return spread;
  std::sort(values.begin(), values.end());
  const std::int64_t count = static_cast<std::int64_t>(values.size());
  // Whole percents, so that no rounding error moves a rank.
  const auto rank = [&](int percent) {
    return values[(percent * count + 99) / 100 - 1];
  };
  spread.count = static_cast<int>(count);
  spread.mean = std::accumulate(values.begin(), values.end(), 0.0) /
                static_cast<double>(count);
  spread.p50 = rank(50);
  spread.p95 = rank(95);
  spread.p99 = rank(99);
  spread.max = values.back();
  return spread;
}

}  // namespace heatkv
