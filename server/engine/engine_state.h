// What the threads of an engine share: the requests, the scheduler, what steps
// cost, and what every device last said of itself.
//
// Thread safety: `mutex` guards all of it.  A standard mutex, because the race
// detector does not see into Debian's Abseil.

#ifndef SERVER_ENGINE_ENGINE_STATE_H_
#define SERVER_ENGINE_ENGINE_STATE_H_

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/engine/engine_stats.h"
#include "server/engine/pool_snapshot.h"
#include "server/engine/running_request.h"
#include "server/engine/schedule_book.h"
#include "server/engine/scheduler.h"
#include "server/engine/step_costs.h"

namespace heatkv::server {

// A view of the pools that was asked for: every device adds its images between
// two of its own steps, and the last one hands it over.
struct PoolView {
  bool per_head = false;
  std::function<void(PoolSnapshot)> done;
  int devices_left = 0;
  std::vector<ImageSnapshot> images;
};

struct EngineState {
  using RequestPtr = std::shared_ptr<RunningRequest>;

  // What a device says of itself.
  struct OfDevice {
    std::optional<absl::Status> warm_up;  // once it is over
    absl::Status health;                  // of its model
    DeviceStats stats;
    std::vector<std::uint64_t> running_requests;
    std::vector<std::shared_ptr<PoolView>> views;  // that it is to add to
  };

  EngineState(SchedulerOptions options, StepCapacity capacity, int devices)
      : scheduler(std::move(options), std::move(capacity), devices),
        devices(devices) {}

  // With the lock held.
  void Announce() {
    ++news;
    has_news.notify_all();
  }
  // Of all devices together.
  EngineStats Stats(absl::Time now) const;

  // OK while one model or more can compute; else why one of them cannot.
  absl::Status Health() const {
    for (const OfDevice& device : devices) {
      if (device.health.ok()) return absl::OkStatus();
    }
    return devices.front().health;
  }

  std::mutex mutex;
  std::condition_variable has_news;
  std::condition_variable is_idle;
  std::condition_variable is_warm;
  std::uint64_t news = 0;  // counts what may be work for a device
  std::shared_ptr<const ScheduleBook> schedules;
  Scheduler scheduler;
  StepCosts costs;
  // Every request not yet ended, by its number.
  std::map<std::uint64_t, RequestPtr> requests;
  std::uint64_t next_number = 1;
  bool draining = false;
  absl::Time drain_deadline = absl::InfiniteFuture();
  bool stopping = false;
  std::vector<OfDevice> devices;

  // Held, before `mutex`, while a change of health is made known, so that
  // changes are heard in their order.  Guards nothing.
  std::mutex health_mutex;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_ENGINE_STATE_H_
