// Requests to simulate: a random mix of kinds, tenants and priorities with
// Poisson arrivals and cancellations, and what the report says about them.
//
// Stateless functions; a source has its own generator of random numbers, whose
// values do not depend on the machine or the standard library.

#ifndef SERVER_ENGINE_SIMULATED_LOAD_H_
#define SERVER_ENGINE_SIMULATED_LOAD_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "base/spread.h"
#include "server/engine/simulator.h"

namespace heatkv::server {

struct LoadOptions {
  int requests = 1000;
  // Arrivals each second on average; times between them are independent and
  // exponential.  Any number will do for a saturated device.
  double rate = 1;
  std::uint64_t seed = 0;
  // Shares of the kinds, of any sum above 0.  Empty: all alike.
  std::vector<double> kinds = {};
  int kinds_count = 1;  // used if `kinds` is empty
  int tenants = 1;
  double high_share = 0;  // of requests with high and low priority
  double low_share = 0;
  // Share of requests that are cancelled, at a time after their arrival that is
  // uniform below cancel_within.
  double cancel_share = 0;
  absl::Duration cancel_within = absl::Seconds(1);
  // Share of requests with a deadline, which is deadline_after.
  double deadline_share = 0;
  absl::Duration deadline_after = absl::Seconds(1);
};

RequestSource RandomLoad(const LoadOptions& options);

// `count` requests of kind 0, all at the beginning.
RequestSource IdenticalLoad(int count);

// What the finished requests after the warm-up say, in seconds.
struct LoadSummary {
  Spread wait;         // from arrival to the start of the first image
  Spread first_scale;  // from arrival to the end of the first scale
  Spread latency;      // from arrival to the end
};

LoadSummary Summarise(const SimulationReport& report, int warm_up);

// How many images of one kind a device has in flight when more of them wait
// without end.
struct Concurrency {
  double mean = 0;  // over time
  int greatest = 0;
  double images_per_second = 0;
};

// Under policy, rule and limits of `scheduler`.  REQUIRES: one image fits.
Concurrency MeasureConcurrency(const SchedulerOptions& scheduler,
                               const StepCapacity& capacity,
                               const StepCostTable& costs,
                               const RequestKind& kind);

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_SIMULATED_LOAD_H_
