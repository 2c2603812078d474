// When the requests of an open loop arrive: a Poisson process, so that they
// come whether or not the server keeps up.  Pure arithmetic; whoever has a
// clock obeys it.

#ifndef CLIENT_BENCH_ARRIVALS_H_
#define CLIENT_BENCH_ARRIVALS_H_

#include <cstdint>

#include "absl/time/time.h"
#include "client/bench/draws.h"

namespace heatkv::client {

class Arrivals {
 public:
  // `rate` is in requests a second and positive.
  Arrivals(double rate, std::uint64_t seed)
      : rate_(rate), draws_(seed, Purpose::kArrivals) {}

  // When the next one arrives, counted from the beginning of the load.
  absl::Duration Next();

 private:
  double rate_;
  Draws draws_;
  double seconds_ = 0;
};

}  // namespace heatkv::client

#endif  // CLIENT_BENCH_ARRIVALS_H_
