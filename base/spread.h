// Where the values of a measurement lie: its percentiles.
//
// Thread safety: stateless.

#ifndef BASE_SPREAD_H_
#define BASE_SPREAD_H_

#include <vector>

namespace heatkv {

// All 0 if there are no values.
struct Spread {
  int count = 0;
  double mean = 0;
  // By the nearest-rank method: the least value that at least 50, 95, 99 % of
  // all values do not exceed.
  double p50 = 0, p95 = 0, p99 = 0;
  double max = 0;
};

Spread SpreadOf(std::vector<double> values);

}  // namespace heatkv

#endif  // BASE_SPREAD_H_
