// A simulation of one or several devices: the server's own scheduler (with its
// queue, its admission and its trajectories) runs against a table of costs
// instead of a model, on a clock of its own.  For capacity tables, for
// comparing policies, and for tests of the scheduler over millions of turns.
//
// What is simulated, as the engine does it: requests join the queue or are
// refused when they arrive, also in the middle of a step; those that were
// cancelled or are late end before the next step or decoding; the text of a
// request is encoded when its first image starts on a device, a finished image
// is decoded after its last step, and nothing else runs there meanwhile.  What
// is not: the refusal of deadlines that cannot be met, stalled readers, decoded
// previews, and cached prompts.
//
// It keeps its own account of the blocks that every image holds and compares
// it with the scheduler's: the plan error.  A step that would pass the limit
// of a pool is a bug, which it CHECKs.
//
// Deterministic: equal input, equal report.  One thread, no real time.

#ifndef SERVER_ENGINE_SIMULATOR_H_
#define SERVER_ENGINE_SIMULATOR_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/occupancy_trace.h"
#include "server/engine/scheduler.h"
#include "server/engine/step_cost_table.h"

namespace heatkv::server {

// What requests of one kind have in common.
struct RequestKind {
  int ladder = 0;
  int images = 1;
  // As in ScheduledRequest.
  std::vector<TierChoice> choices;
};

struct SimulatedRequest {
  absl::Duration arrives = absl::ZeroDuration();  // after the beginning
  int kind = 0;    // index into SimulationInput::kinds
  int tenant = 0;  // index into SimulationInput::tenants
  Priority priority = Priority::kNormal;
  // After its arrival.
  absl::Duration cancelled_after = absl::InfiniteDuration();
  absl::Duration deadline_after = absl::InfiniteDuration();
};

// The next request, in the order of arrival; nothing when there are no more.
using RequestSource = std::function<std::optional<SimulatedRequest>()>;

struct SimulationInput {
  SchedulerOptions scheduler;
  StepCapacity capacity;
  const StepCostTable* costs = nullptr;  // of each device
  int devices = 1;
  std::vector<RequestKind> kinds;
  std::vector<std::string> tenants = {""};
  RequestSource requests;
  // Above 0: a saturated device.  Times of arrival are ignored; a request
  // arrives whenever fewer than this many wait, and none is refused for a full
  // queue.
  int backlog = 0;
  // So many of the first requests are served but not measured: they find an
  // emptier device than the others.
  int warm_up = 0;
};

enum class Outcome {
  kFinished,
  kCancelled,  // before it was finished
  kLate,       // ended at its deadline
  kRefused,    // the queue was full
  kNeverFits,  // one of its images does not fit the empty pool
};

// Times since the beginning; Infinite if it did not come to that.
struct RequestRecord {
  absl::Duration arrived;
  absl::Duration started = absl::InfiniteDuration();  // its first image
  // The first scale of its first image was done: there is something to show.
  absl::Duration first_scale = absl::InfiniteDuration();
  absl::Duration ended = absl::InfiniteDuration();
  Outcome outcome = Outcome::kFinished;
  int kind = 0;
  int choice = -1;  // of its kind's choices; -1 if it never started
};

struct SimulationReport {
  std::vector<RequestRecord> requests;  // in the order of arrival

  // From the beginning to the end of the last request.
  OccupancyTrace trace;
  absl::Duration length;
  absl::Duration busy;  // that something was computed; mean over the devices
  std::int64_t turns = 0;
  std::int64_t images = 0;  // finished
  std::int64_t most_used_blocks = 0;
  int most_running_images = 0;
  // The greatest difference between the blocks that images hold by their
  // trajectories and those that the scheduler counts.
  std::int64_t plan_error_blocks = 0;

  // The time that is measured: from the first arrival after the warm-up to the
  // last arrival.  Means over time.
  absl::Duration measured;
  double mean_running_images = 0;
  double mean_used_blocks = 0;
  double images_per_second = 0;
  double utilisation = 0;  // share of it that a device was busy

  int Count(Outcome outcome) const;
};

// CHECKs that the input is complete: at least one kind, every kind with a
// choice, indices in range, requests in the order of arrival.
SimulationReport Simulate(const SimulationInput& input);

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_SIMULATOR_H_
