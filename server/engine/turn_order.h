// Who goes first on a device: the order of the images in flight there, and
// whether one that waits goes before all of them (server/engine/scheduler.h
// says how the policies differ).
//
// Pure functions of the scheduler's options and a device's flight.  Not
// thread-safe: owned by the scheduler.

#ifndef SERVER_ENGINE_TURN_ORDER_H_
#define SERVER_ENGINE_TURN_ORDER_H_

#include <compare>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/device_flight.h"
#include "server/engine/fair_queue.h"
#include "server/engine/scheduled_request.h"
#include "server/engine/scheduler_options.h"

namespace heatkv::server {

// Smallest first.
struct TurnRank {
  int is_in_time = 1;     // 0 if in flight for so long that nobody overtakes
  int below_highest = 0;  // highest class minus its own
  int is_alone = 0;       // preview: runs in no group
  std::int64_t left = 0;  // tokens left, or the scale

  friend auto operator<=>(const TurnRank&, const TurnRank&) = default;
};

class TurnOrder {
 public:
  // Both must outlive it, and may change.
  TurnOrder(const SchedulerOptions* options, const StepCapacity* capacity)
      : options_(*options), capacity_(*capacity) {}

  // The class of something that has been here since `arrived` (fair_queue.h).
  int ClassOf(Priority priority, absl::Time arrived, absl::Time now) const;

  // Images in flight, first who goes first; with `kind`, only those whose next
  // step is of it.
  std::vector<std::pair<TurnRank, int>> InFlight(
      const DeviceFlight& flight, absl::Time now,
      const StepKind* kind = nullptr) const;

  // Whether an image of class `waiting_class` that would start with a step of
  // `kind` goes before all that is in flight.
  bool GoesFirst(int waiting_class, const StepKind& kind,
                 const DeviceFlight& flight, absl::Time now) const;

 private:
  int ClassInFlight(const DeviceFlight::Image& image, absl::Time now) const;
  bool IsOverdue(const DeviceFlight::Image& image, absl::Time now) const;
  TurnRank RankOf(int image_class, const StepKind& kind,
                  std::int64_t left) const;
  TurnRank RankInFlight(const DeviceFlight& flight, int index,
                        absl::Time now) const;

  const SchedulerOptions& options_;
  const StepCapacity& capacity_;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_TURN_ORDER_H_
