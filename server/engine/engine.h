// The engine: takes requests from any thread and makes their images on one or
// several devices alike, each with a thread of its own, which alone owns the
// device's model, block pool and images in flight (server/engine/
// engine_device.h).
//
// All devices share one queue.  The scheduler (server/engine/scheduler.h) says
// which images start where and which do their next scale together; the devices
// obey.  Nothing is ever evicted or interrupted for want of memory.  A failure
// of a model ends the request that it happened to and no other.  A model that
// cannot compute at all (server/engine/model_watch.h) starts no images until it
// can again, while another can; if none can, no requests are taken; the
// observer is told.  An image does not depend on its device.
//
// It knows no protocol, no encoding of pictures, no configuration file.
//
// Thread safety: every public method may be called from any thread, but for
// Start and RunOnce.

#ifndef SERVER_ENGINE_ENGINE_H_
#define SERVER_ENGINE_ENGINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cache/geometry.h"
#include "model/api/image_model.h"
#include "server/engine/clock.h"
#include "server/engine/engine_device.h"
#include "server/engine/engine_options.h"
#include "server/engine/engine_state.h"
#include "server/engine/engine_stats.h"
#include "server/engine/estimate.h"
#include "server/engine/model_watch.h"
#include "server/engine/observer.h"
#include "server/engine/pool_snapshot.h"
#include "server/engine/request.h"
#include "server/engine/schedule_book.h"
#include "server/engine/scheduler.h"

namespace heatkv::server {

enum class CancelCause { kClient, kStall };

class Engine {
 public:
  // Allocates an arena on each device.  `schedules` must have been made for the
  // models' geometry.  `clock` and `observer` must outlive the engine.
  //
  // Fails as ImageModel::CreateArena does, and with InvalidArgument if an
  // option is less than its least or the models are not alike (naming the
  // devices and how their caches differ).  CHECKs that there is a device.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(
      const EngineOptions& options, std::vector<DeviceModel> devices,
      std::shared_ptr<const ScheduleBook> schedules, const Clock* clock,
      ServerObserver* observer);
  // The same with one device.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(
      const EngineOptions& options, std::unique_ptr<model::ImageModel> model,
      std::shared_ptr<const ScheduleBook> schedules, const Clock* clock,
      ServerObserver* observer);

  // Ends every request that is left with Unavailable, then the threads.
  ~Engine();

  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Starts a thread for each device, which has its model warm up first.  Once.
  void Start();

  // After Start: waits until every model has warmed up, and how that went (with
  // several, of the first that failed).
  absl::Status AwaitWarm() const;

  // One turn of the loop of every device, or of one, on the caller's thread,
  // instead of Start (tests, simulations): ends what is over, admits, computes
  // one scale of one group.  False if there was nothing to do.
  bool RunOnce();
  bool RunOnce(int device);

  // Takes a request, reports it accepted to `sink`, and returns its number.
  //   FailedPrecondition  one of its images can never fit the pool on any tier
  //                       that it may run on; both byte counts are named
  //   ResourceExhausted   the queue is full; carries a retry hint
  //   DeadlineExceeded    it cannot be done by its deadline; the estimate is
  //                       named
  //   Unavailable         the engine drains, or the model cannot compute;
  //                       carries a retry hint
  // CHECKs that ladder, book, tiers and previews exist and that there is a
  // seed.
  absl::StatusOr<std::uint64_t> Submit(GenerationRequest request,
                                       std::shared_ptr<EventSink> sink);

  // What Submit would say to it and how long it would take, without taking it.
  // Fails with FailedPrecondition as Submit does, and for nothing else.
  absl::StatusOr<RequestEstimate> EstimateRequest(
      const GenerationRequest& request) const;

  // Ends a request before its next step, with Cancelled, or Aborted if its
  // reader stalled.  No effect on one that has ended.
  void Cancel(std::uint64_t request, CancelCause cause = CancelCause::kClient);

  // From now on takes no request.  Those it has may finish until `deadline`;
  // the rest then end with Unavailable.  A second call may only bring the
  // deadline forward.
  void Drain(absl::Time deadline);

  // Takes requests again, unless the deadline of a drain has passed.
  void Undrain();

  // Waits until the engine has no request, at most `timeout`.  Whether it has
  // none.
  bool AwaitIdle(absl::Duration timeout) const;

  // From now on: limits and policy for everybody who waits, the book for
  // requests that ask for `schedules` later.  Fails with InvalidArgument, and
  // changes nothing, if an option is less than its least or the limit is more
  // than the arena, naming both numbers.  CHECKs that the book has the model's
  // geometry.
  absl::Status Reconfigure(const SchedulerOptions& options,
                           std::shared_ptr<const ScheduleBook> schedules);

  EngineStats Stats() const;

  // Calls `done` with who holds what, on the thread of a device, soon: each
  // device adds its images between two of its steps.  From the destructor at
  // the latest.
  void ViewPool(bool per_head, std::function<void(PoolSnapshot)> done);

  // The schedules in force.
  std::shared_ptr<const ScheduleBook> schedules() const;
  const model::ModelSpec& spec() const { return devices_[0]->model().spec(); }
  // Of a device.
  std::int64_t pool_blocks() const { return options_.pool_blocks; }
  int devices() const { return static_cast<int>(devices_.size()); }
  const std::string& device_name(int device) const {
    return devices_[device]->name();
  }
  SchedulerOptions scheduler_options() const;

  // ImageModel::CountTokens.
  absl::StatusOr<int> CountTokens(absl::string_view prompt) const;

 private:
  Engine(const EngineOptions& options, std::vector<DeviceModel> devices,
         std::shared_ptr<const ScheduleBook> schedules, const Clock* clock,
         ServerObserver* observer);

  // What the scheduler is told of a request.  Fails if it can never fit.
  absl::StatusOr<ScheduledRequest> Describe(const GenerationRequest& request,
                                            int branches) const;
  absl::Status Refuse(Refusal refusal, absl::Status status) const;

  // With the lock held (engine_estimate.cc).
  RequestEstimate EstimateLocked(const ScheduledRequest& request) const;
  absl::Duration RetryAfter() const;
  // Of one image of `request`.
  absl::Duration ImageWork(const RunningRequest& request) const;
  // For each device its place among those whose models are well (among all, if
  // none is); -1 for those that are not.
  std::vector<int> DevicesInUse() const;

  const EngineOptions options_;
  const Clock* const clock_;
  ServerObserver* const observer_;
  const cache::CacheGeometry geometry_;
  mutable EngineState state_;
  std::vector<std::unique_ptr<EngineDevice>> devices_;
  std::vector<std::thread> threads_;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_ENGINE_H_
