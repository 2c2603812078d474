// The engine: takes requests from any thread and makes their images on one
// thread of its own, which alone owns the model, the block pool, the scheduler
// and every image in flight.
//
// The scheduler (server/engine/scheduler.h) says which images start and which
// do their next scale together; the engine obeys: it encodes texts, plans the
// blocks of the group, has the model compute the step, decodes pictures and
// tells sinks.  Nothing is ever evicted or interrupted for want of memory.
// Before every step and every decoding it looks whether requests were
// cancelled, are past their deadlines, or the server's drain is over; their
// blocks are back in the pool before the next step.  A failure of the model
// ends the request that it happened to and no other.  A model that cannot
// compute at all (server/engine/model_watch.h) takes no requests until it can
// again; the observer is told.
//
// It knows no protocol, no encoding of pictures, no configuration file.
//
// Thread safety: every public method may be called from any thread, but for
// Start and RunOnce.

#ifndef SERVER_ENGINE_ENGINE_H_
#define SERVER_ENGINE_ENGINE_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cache/block_pool.h"
#include "model/api/image_model.h"
#include "server/engine/clock.h"
#include "server/engine/engine_stats.h"
#include "server/engine/estimate.h"
#include "server/engine/model_watch.h"
#include "server/engine/observer.h"
#include "server/engine/pool_snapshot.h"
#include "server/engine/prompt_cache.h"
#include "server/engine/request.h"
#include "server/engine/running_request.h"
#include "server/engine/schedule_book.h"
#include "server/engine/scheduler.h"
#include "server/engine/step_costs.h"

namespace heatkv::server {

struct EngineOptions {
  // Blocks of the arena: the most that the limit can be set to.
  std::int64_t pool_blocks = 0;  // 1 or more
  // limit_blocks 0 means pool_blocks.
  SchedulerOptions scheduler;
  int cached_prompts = 256;
  std::int64_t cached_prompt_bytes = std::int64_t{256} << 20;
};

enum class CancelCause { kClient, kStall };

class Engine {
 public:
  // Allocates the arena.  `schedules` must have been made for this model's
  // geometry.  `clock` and `observer` must outlive the engine.
  //
  // Fails as ImageModel::CreateArena does, and with InvalidArgument if an
  // option is less than its least.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(
      const EngineOptions& options, std::unique_ptr<model::ImageModel> model,
      std::shared_ptr<const ScheduleBook> schedules, const Clock* clock,
      ServerObserver* observer);

  // Ends every request that is left with Unavailable, then the thread.
  ~Engine();

  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Starts the engine's thread, which has the model warm up first.  Once.
  void Start();

  // After Start: waits until the model has warmed up, and how that went.
  absl::Status AwaitWarm() const;

  // One turn of the loop on the caller's thread, instead of Start (tests,
  // simulations): ends what is over, admits, computes one scale of one image.
  // False if there was nothing to do.
  bool RunOnce();

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

  // Calls `done` with who holds what, on the engine thread between two steps,
  // soon; from the destructor at the latest.
  void ViewPool(bool per_head, std::function<void(PoolSnapshot)> done);

  // The schedules in force.
  std::shared_ptr<const ScheduleBook> schedules() const;
  const model::ModelSpec& spec() const { return model_->spec(); }
  std::int64_t pool_blocks() const { return options_.pool_blocks; }
  SchedulerOptions scheduler_options() const;

  // ImageModel::CountTokens.
  absl::StatusOr<int> CountTokens(absl::string_view prompt) const;

 private:
  Engine(const EngineOptions& options, std::unique_ptr<model::ImageModel> model,
         std::shared_ptr<const ScheduleBook> schedules, const Clock* clock,
         ServerObserver* observer);

  using RequestPtr = std::shared_ptr<RunningRequest>;

  // On any thread (engine.cc).
  //
  // What the scheduler is told of a request.  Fails if it can never fit.
  absl::StatusOr<ScheduledRequest> Describe(const GenerationRequest& request,
                                            int branches) const;
  // With mutex_ held.
  RequestEstimate EstimateLocked(const ScheduledRequest& request) const;
  absl::Duration RetryAfter() const;
  absl::Status Refuse(Refusal refusal, absl::Status status) const;

  // On the engine thread (engine_turn.cc).
  void Loop();
  void AnswerViews();
  // Whether `request` must end now; if so `ending` and `cause` say why.
  bool IsOver(const RequestPtr& request);
  void EndWhatIsOver();
  // Requests whose readers are slow or whose texts are still being encoded.
  void HoldRequests();
  bool TextIsReady(RunningRequest* request);
  void ReportPositions();
  // Starts the image if this is its first turn; false if that failed, and its
  // request has ended.
  bool EnsureStarted(const ImageRef& ref);
  bool BeginRequest(const RequestPtr& request);
  void Execute(const Turn& turn);
  void ReportScale(RunningImage& image, const cache::StepPlan& plan,
                   absl::Duration took);
  // After a scale of `ref`: preview, or the image itself.
  void AfterScale(const ImageRef& ref, int scale);
  // By value: the caller may have found the request in what they take apart.
  void FailRequest(RequestPtr request, absl::Status status);
  void End(RequestPtr request);
  // Takes the image out of flight and gives its blocks back.
  void Release(const ImageRef& ref);
  void CountHeads(const cache::BlockLists& lists, int sign);
  void Publish();
  void OnModelHealth(const absl::Status& status);

  const EngineOptions options_;
  const Clock* const clock_;
  ServerObserver* const observer_;
  const cache::CacheGeometry geometry_;

  // Of the engine thread.  The pool is declared before what holds its blocks.
  std::unique_ptr<model::ImageModel> model_;
  ModelWatch watch_;
  cache::BlockPool pool_;
  PromptCache prompts_;
  std::map<ImageRef, RunningImage> images_;  // in flight
  std::vector<std::int64_t> head_blocks_;

  // Guards all that follows.  A standard mutex, because the race detector does
  // not see into Debian's Abseil.
  mutable std::mutex mutex_;
  std::condition_variable has_work_;
  mutable std::condition_variable is_idle_;
  mutable std::condition_variable is_warm_;
  std::optional<absl::Status> warm_up_;  // once it is over
  std::shared_ptr<const ScheduleBook> schedules_;
  Scheduler scheduler_;
  StepCosts costs_;
  // Every request not yet ended, by its number.
  std::map<std::uint64_t, RequestPtr> requests_;
  std::uint64_t next_number_ = 1;
  bool draining_ = false;
  absl::Time drain_deadline_ = absl::InfiniteFuture();
  bool stopping_ = false;
  absl::Status model_health_;
  std::vector<std::pair<bool, std::function<void(PoolSnapshot)>>> views_;
  EngineStats stats_;

  std::thread thread_;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_ENGINE_H_
