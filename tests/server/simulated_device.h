// A small model on a simulated device, for the tests of the simulator: two
// ladders, three tiers, costs that are whole milliseconds.

#ifndef TESTS_SERVER_SIMULATED_DEVICE_H_
#define TESTS_SERVER_SIMULATED_DEVICE_H_

#include <memory>
#include <vector>

#include "cache/geometry.h"
#include "cache/trajectory.h"
#include "model/api/model_spec.h"
#include "server/engine/schedule_book.h"
#include "server/engine/simulator.h"
#include "server/engine/step_cost_table.h"

namespace heatkv::server {

class SimulatedDevice {
 public:
  SimulatedDevice();

  // Tiers: 0 full, 1 a half, 2 a quarter.
  TierChoice Choice(int ladder, int tier, int branches = 2) const;
  RequestKind Kind(int ladder, std::vector<int> tiers, int images = 1) const;

  // A pool of `blocks`, latency policy, a queue without bounds, no requests.
  SimulationInput Input(std::int64_t blocks) const;

  const model::ModelSpec& spec() const { return spec_; }
  const StepCostTable& costs() const { return costs_; }

 private:
  model::ModelSpec spec_;
  ScheduleBook book_;
  StepCostTable costs_;
};

// Requests that were written down, in the order of arrival.
RequestSource Listed(std::vector<SimulatedRequest> requests);

}  // namespace heatkv::server

#endif  // TESTS_SERVER_SIMULATED_DEVICE_H_
