// What an operator and a model decide about scheduling.  Plain values.

#ifndef SERVER_ENGINE_SCHEDULER_OPTIONS_H_
#define SERVER_ENGINE_SCHEDULER_OPTIONS_H_

#include <cstdint>
#include <functional>

#include "server/engine/fair_queue.h"

namespace heatkv::server {

enum class SchedulingPolicy { kLatency, kPreview };

enum class AdmissionRule {
  kSafeState,
  kSumOfPeaks,  // for comparison
};

// How many images one step takes at a scale; 1 or more.  Of the model; does not
// depend on load.
using StepCapacity = std::function<int(int ladder, int scale, int branches)>;

// With several devices, the limits are those of each of them.
struct SchedulerOptions {
  std::int64_t limit_blocks = 0;  // that images may hold together
  int max_running_images = 32;    // 1 or more
  SchedulingPolicy policy = SchedulingPolicy::kLatency;
  AdmissionRule rule = AdmissionRule::kSafeState;
  QueueOptions queue;

  friend bool operator==(const SchedulerOptions&,
                         const SchedulerOptions&) = default;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_SCHEDULER_OPTIONS_H_
