// Where the values of a measurement lie: its percentiles.

#ifndef CLIENT_BENCH_SPREAD_H_
#define CLIENT_BENCH_SPREAD_H_

#include <vector>

namespace heatkv::client {

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

}  // namespace heatkv::client

#endif  // CLIENT_BENCH_SPREAD_H_
