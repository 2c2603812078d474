#include "server/engine/engine.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "server/engine/retry_hint.h"

namespace heatkv::server {
namespace {

model::SamplingKnobs MakeKnobs(const GenerationRequest& request, int scales) {
  model::SamplingKnobs knobs;
  knobs.guidance.assign(scales, static_cast<float>(request.guidance));
  knobs.tau.assign(scales, static_cast<float>(request.tau));
  knobs.top_p = static_cast<float>(request.top_p);
  return knobs;
}

absl::Status CheckOptions(const SchedulerOptions& options,
                          std::int64_t pool_blocks) {
  if (options.limit_blocks < 1 || options.max_running_images < 1 ||
      options.queue.max_requests < 1 ||
      options.queue.aging <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("engine options: a limit of ", options.limit_blocks,
                     " blocks, max_running_images ", options.max_running_images,
                     ", max_requests ", options.queue.max_requests,
                     " must be 1 or more, and aging ",
                     absl::FormatDuration(options.queue.aging), " above 0"));
  }
  if (options.limit_blocks > pool_blocks) {
    return absl::InvalidArgumentError(
        absl::StrCat("the pool cannot have ", options.limit_blocks,
                     " blocks: ", pool_blocks, " were allocated at the start"));
  }
  return absl::OkStatus();
}

SchedulerOptions WithLimit(SchedulerOptions options, std::int64_t blocks) {
  if (options.limit_blocks == 0) options.limit_blocks = blocks;
  return options;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(
    const EngineOptions& options, std::unique_ptr<model::ImageModel> model,
    std::shared_ptr<const ScheduleBook> schedules, const Clock* clock,
    ServerObserver* observer) {
  if (options.pool_blocks < 1 || options.cached_prompts < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("engine options: pool_blocks ", options.pool_blocks,
                     " must be 1 or more, cached_prompts ",
                     options.cached_prompts, " 0 or more"));
  }
  RETURN_IF_ERROR(CheckOptions(
      WithLimit(options.scheduler, options.pool_blocks), options.pool_blocks));
  HEATKV_CHECK(schedules->geometry() == model->cache_geometry());
  RETURN_IF_ERROR(model->CreateArena(options.pool_blocks));
  return std::unique_ptr<Engine>(new Engine(
      options, std::move(model), std::move(schedules), clock, observer));
}

Engine::Engine(const EngineOptions& options,
               std::unique_ptr<model::ImageModel> model,
               std::shared_ptr<const ScheduleBook> schedules,
               const Clock* clock, ServerObserver* observer)
    : options_(options),
      clock_(clock),
      observer_(observer),
      geometry_(model->cache_geometry()),
      model_(std::move(model)),
      watch_(model_.get(),
             [this](const absl::Status& status) { OnModelHealth(status); }),
      pool_(options.pool_blocks),
      prompts_(options.cached_prompts, options.cached_prompt_bytes),
      head_blocks_(geometry_.heads_in_model(), 0),
      schedules_(std::move(schedules)),
      scheduler_(WithLimit(options.scheduler, options.pool_blocks),
                 [spec = &model_->spec()](int ladder, int scale, int branches) {
                   return model::GroupCapacity(*spec, ladder, scale, branches);
                 }) {
  Publish();
}

Engine::~Engine() {
  Drain(absl::InfinitePast());
  if (thread_.joinable()) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    has_work_.notify_one();
    thread_.join();
  }
  EndWhatIsOver();
  AnswerViews();
  HEATKV_CHECK(images_.empty() && requests_.empty());
}

void Engine::Start() {
  HEATKV_CHECK(!thread_.joinable());
  thread_ = std::thread([this] {
    absl::Status status = model_->WarmUp();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      warm_up_ = std::move(status);
    }
    is_warm_.notify_all();
    Loop();
  });
}

absl::Status Engine::AwaitWarm() const {
  std::unique_lock<std::mutex> lock(mutex_);
  is_warm_.wait(lock, [this] { return warm_up_.has_value(); });
  return *warm_up_;
}

absl::StatusOr<ScheduledRequest> Engine::Describe(
    const GenerationRequest& request, int branches) const {
  const model::LadderSpec& ladder = spec().ladders[request.ladder];
  const std::vector<TierSpec>& tiers = request.book->tiers();
  ScheduledRequest described;
  described.ladder = request.ladder;
  described.images = static_cast<int>(request.seeds.size());
  described.priority = request.priority;
  described.tenant = request.tenant;
  described.arrived = clock_->Now();
  const double least = tiers[request.least_tier].budget.fraction();
  const double most = tiers[request.tier].budget.fraction();
  for (int t = 0; t < static_cast<int>(tiers.size()); ++t) {
    const double budget = tiers[t].budget.fraction();
    const bool is_between = budget >= least && budget < most;
    if (t != request.tier && !is_between) continue;
    described.choices.push_back(
        {t, request.book->plan(request.ladder, t).trajectory(branches)});
  }
  std::stable_sort(described.choices.begin(), described.choices.end(),
                   [&](const TierChoice& a, const TierChoice& b) {
                     return tiers[a.tier].budget.fraction() >
                            tiers[b.tier].budget.fraction();
                   });
  const TierChoice& last = described.choices.back();
  const std::int64_t limit = scheduler_options().limit_blocks;
  if (last.trajectory->peak_blocks() > limit) {
    return absl::FailedPreconditionError(absl::StrCat(
        "an image of ", ladder.aspect, " ", ladder.pixel_class, " on tier \"",
        tiers[last.tier].name, "\" holds ", last.trajectory->peak_bytes(),
        " bytes of cache at its peak, but the pool has ",
        last.trajectory->bytes(limit)));
  }
  return described;
}

absl::Status Engine::Refuse(Refusal refusal, absl::Status status) const {
  observer_->OnRefusal(refusal);
  return status;
}

absl::StatusOr<std::uint64_t> Engine::Submit(GenerationRequest request,
                                             std::shared_ptr<EventSink> sink) {
  HEATKV_CHECK(request.ladder >= 0 && request.ladder < spec().ladders.size());
  HEATKV_CHECK(request.book != nullptr);
  HEATKV_CHECK(request.tier >= 0 &&
               request.tier < request.book->tiers().size());
  HEATKV_CHECK(request.least_tier >= 0 &&
               request.least_tier < request.book->tiers().size());
  HEATKV_CHECK(!request.seeds.empty());
  const int scales = spec().ladders[request.ladder].ladder.num_scales();
  HEATKV_CHECK(request.preview_after.empty() ||
               request.preview_after.size() == scales);

  model::SamplingKnobs knobs = MakeKnobs(request, scales);
  absl::StatusOr<ScheduledRequest> described =
      Describe(request, knobs.branches());
  if (!described.ok()) return Refuse(Refusal::kNeverFits, described.status());
  const cache::Trajectory& asked = *described->choices.front().trajectory;

  const std::lock_guard<std::mutex> lock(mutex_);
  if (draining_) {
    const bool is_for_good = drain_deadline_ < absl::InfiniteFuture();
    return Refuse(
        Refusal::kDraining,
        WithRetryHint(absl::UnavailableError(
                          is_for_good ? "the server is shutting down"
                                      : "the server drains: it takes no new "
                                        "requests until it is undrained"),
                      absl::Seconds(5)));
  }
  if (!model_health_.ok()) {
    return Refuse(Refusal::kModelUnwell,
                  WithRetryHint(absl::UnavailableError(absl::StrCat(
                                    "the model cannot compute at present: ",
                                    model_health_.message())),
                                ModelWatch::kRetryEvery));
  }
  const std::int64_t bytes = described->images * asked.peak_bytes();
  if (absl::Status joins = scheduler_.queue().MayJoin(bytes); !joins.ok()) {
    const bool is_full =
        scheduler_.queue().size() >= scheduler_.options().queue.max_requests;
    return Refuse(is_full ? Refusal::kQueueFull : Refusal::kBytesFull,
                  WithRetryHint(std::move(joins), RetryAfter()));
  }
  if (const std::int64_t peak =
          described->choices.back().trajectory->peak_blocks();
      peak > scheduler_.options().limit_blocks) {
    return Refuse(Refusal::kNeverFits,
                  absl::FailedPreconditionError(absl::StrCat(
                      "an image holds ", asked.bytes(peak),
                      " bytes of cache at its peak, but the pool has just been "
                      "made smaller, to ",
                      asked.bytes(scheduler_.options().limit_blocks))));
  }
  const RequestEstimate estimate = EstimateLocked(*described);
  if (estimate.least_wait.has_value()) {
    const absl::Duration least = *estimate.least_wait + *estimate.least_run;
    const absl::Duration left = request.deadline - described->arrived;
    if (least > left) {
      if (requests_.empty()) costs_.Doubt();
      return Refuse(
          Refusal::kDeadline,
          absl::DeadlineExceededError(absl::StrCat(
              "by the server's estimate the last image would be done in ",
              absl::FormatDuration(least), " at best (",
              absl::FormatDuration(*estimate.least_wait),
              " of it waiting), but the deadline is in ",
              absl::FormatDuration(left))));
    }
  }

  const std::uint64_t number = next_number_++;
  described->number = number;
  described->image_byte_seconds = costs_.ByteSeconds(request.ladder, asked);
  auto running = std::make_shared<RunningRequest>(
      number, std::move(request), std::move(sink), std::move(knobs),
      described->arrived);
  running->image_byte_seconds = described->image_byte_seconds;
  running->usage.full_cache_bytes = asked.full_cache_bytes();
  running->usage.tier = running->asked.tier;
  // Under the lock, so that it comes before all that the engine thread reports.
  AcceptedEvent accepted;
  accepted.peak_bytes = asked.peak_bytes();
  accepted.full_cache_bytes = asked.full_cache_bytes();
  accepted.queue_position = estimate.requests_ahead;
  accepted.scales = scales;
  accepted.expected_wait = estimate.expected_wait;
  accepted.expected_run = estimate.expected_run;
  running->sink->OnEvent(std::move(accepted));
  requests_[number] = std::move(running);
  scheduler_.Enqueue(*std::move(described));
  has_work_.notify_one();
  return number;
}

absl::StatusOr<RequestEstimate> Engine::EstimateRequest(
    const GenerationRequest& request) const {
  const int scales = spec().ladders[request.ladder].ladder.num_scales();
  ASSIGN_OR_RETURN(const ScheduledRequest described,
                   Describe(request, MakeKnobs(request, scales).branches()));
  const std::lock_guard<std::mutex> lock(mutex_);
  RequestEstimate estimate = EstimateLocked(described);
  estimate.trajectory = described.choices.front().trajectory;
  const cache::ScaleLadder& ladder = estimate.trajectory->schedule()->ladder();
  for (int s = 0; s < scales; ++s) {
    estimate.scale_times.push_back(
        costs_.Step(request.ladder, s, estimate.trajectory->branches(),
                    static_cast<int>(ladder.tokens(s))));
  }
  estimate.byte_seconds =
      described.images *
      costs_.ByteSeconds(request.ladder, *estimate.trajectory);
  estimate.admissible_now =
      scheduler_.WouldStartNow(described, clock_->Now(), &estimate.reason);
  if (draining_) {
    estimate.admissible_now = false;
    estimate.reason = "the server takes no requests now";
  } else if (!model_health_.ok()) {
    estimate.admissible_now = false;
    estimate.reason = absl::StrCat("the model cannot compute at present: ",
                                   model_health_.message());
  }
  return estimate;
}

RequestEstimate Engine::EstimateLocked(const ScheduledRequest& request) const {
  RequestEstimate estimate;
  estimate.requests_ahead = scheduler_.queue().size();
  const cache::Trajectory& asked = *request.choices.front().trajectory;
  const auto image = costs_.Rest(request.ladder, asked, 0);
  if (!image.has_value()) return estimate;
  absl::Duration in_flight, waiting, least;
  for (const Scheduler::Flight& flight : scheduler_.InFlight()) {
    const RunningRequest& other = *requests_.at(flight.image.request);
    const absl::Duration rest =
        costs_
            .Rest(flight.ladder, *flight.progress.trajectory,
                  flight.progress.next_scale)
            .value_or(absl::ZeroDuration());
    in_flight += rest;
    if (other.ending.ok() && other.asked.priority >= request.priority) {
      least += rest;
    }
  }
  for (const QueuedRequest* queued :
       scheduler_.queue().InOrder(clock_->Now())) {
    if (queued->priority < request.priority) continue;
    const RunningRequest& other = *requests_.at(queued->number);
    const absl::Duration work =
        queued->images * costs_
                             .Rest(other.asked.ladder,
                                   *other.plan(other.asked.tier)
                                        .trajectory(other.knobs.branches()),
                                   0)
                             .value_or(absl::ZeroDuration());
    waiting += work;
    // Other tenants take turns with it.
    if (other.ending.ok() && other.asked.tenant == request.tenant) {
      least += work;
    }
  }
  const absl::Duration own =
      request.images * *image + costs_.Text().value_or(absl::ZeroDuration());
  const bool is_latency =
      scheduler_.options().policy == SchedulingPolicy::kLatency;
  estimate.least_wait = is_latency ? least : absl::ZeroDuration();
  estimate.least_run = request.images * *image;
  if (is_latency) {
    estimate.expected_wait = in_flight + waiting;
    estimate.expected_run = own;
  } else {
    // What runs shares the device with it from its start.
    estimate.expected_wait = waiting;
    estimate.expected_run = in_flight + own;
  }
  return estimate;
}

void Engine::Cancel(std::uint64_t request, CancelCause cause) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = requests_.find(request);
  if (found == requests_.end() || !found->second->ending.ok()) return;
  RunningRequest& running = *found->second;
  running.over_since = clock_->Now();
  if (cause == CancelCause::kClient) {
    running.cause = EndCause::kClient;
    running.ending = absl::CancelledError("cancelled by the client");
  } else {
    running.cause = EndCause::kStall;
    running.ending =
        absl::AbortedError("the client did not read its stream for too long");
  }
  has_work_.notify_one();
}

void Engine::Drain(absl::Time deadline) {
  const std::lock_guard<std::mutex> lock(mutex_);
  draining_ = true;
  drain_deadline_ = std::min(drain_deadline_, deadline);
}

void Engine::Undrain() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (clock_->Now() >= drain_deadline_) return;
  draining_ = false;
  drain_deadline_ = absl::InfiniteFuture();
}

bool Engine::AwaitIdle(absl::Duration timeout) const {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto idle = [this] { return requests_.empty(); };
  if (timeout == absl::InfiniteDuration()) {
    is_idle_.wait(lock, idle);
    return true;
  }
  return is_idle_.wait_for(lock, absl::ToChronoNanoseconds(timeout), idle);
}

absl::Status Engine::Reconfigure(
    const SchedulerOptions& options,
    std::shared_ptr<const ScheduleBook> schedules) {
  RETURN_IF_ERROR(CheckOptions(options, options_.pool_blocks));
  HEATKV_CHECK(schedules->geometry() == geometry_);
  const std::lock_guard<std::mutex> lock(mutex_);
  scheduler_.SetOptions(options);
  schedules_ = std::move(schedules);
  // Those that no longer fit, whatever else finishes, would wait for ever.
  for (const QueuedRequest* queued :
       scheduler_.queue().InOrder(clock_->Now())) {
    const std::int64_t peak = scheduler_.LeastPeak(queued->number);
    if (peak <= options.limit_blocks) continue;
    RunningRequest& request = *requests_.at(queued->number);
    if (!request.ending.ok()) continue;
    request.over_since = clock_->Now();
    request.cause = EndCause::kFailure;
    request.ending = absl::FailedPreconditionError(absl::StrCat(
        "the pool was made smaller while the request waited: an image holds ",
        peak * geometry_.block_bytes(), " bytes at its peak, the pool has ",
        options.limit_blocks * geometry_.block_bytes()));
  }
  has_work_.notify_one();
  return absl::OkStatus();
}

absl::StatusOr<int> Engine::CountTokens(absl::string_view prompt) const {
  return model_->CountTokens({prompt.data(), prompt.size()});
}

std::shared_ptr<const ScheduleBook> Engine::schedules() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return schedules_;
}

SchedulerOptions Engine::scheduler_options() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return scheduler_.options();
}

void Engine::ViewPool(bool per_head, std::function<void(PoolSnapshot)> done) {
  const std::lock_guard<std::mutex> lock(mutex_);
  views_.push_back({per_head, std::move(done)});
  has_work_.notify_one();
}

EngineStats Engine::Stats() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  EngineStats stats = stats_;
  stats.limit_blocks = scheduler_.options().limit_blocks;
  stats.waiting_requests = scheduler_.queue().size();
  stats.waiting_bytes = scheduler_.queue().bytes();
  if (!scheduler_.queue().empty()) {
    stats.oldest_wait = clock_->Now() - scheduler_.queue().oldest_arrival();
  }
  stats.draining = draining_;
  stats.model_is_well = model_health_.ok();
  return stats;
}

absl::Duration Engine::RetryAfter() const {
  absl::Duration work;
  for (const auto& [number, request] : requests_) {
    const int left = request->images() - request->images_done;
    work += left * costs_
                       .Rest(request->asked.ladder,
                             *request->plan(request->asked.tier)
                                  .trajectory(request->knobs.branches()),
                             0)
                       .value_or(absl::ZeroDuration());
  }
  return std::clamp(work, absl::Seconds(1), absl::Minutes(1));
}

}  // namespace heatkv::server
