#include "server/engine/engine.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "server/engine/knobs.h"
#include "server/engine/retry_hint.h"

namespace heatkv::server {
namespace {

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

// With the device's name, if it is one of `several`.
absl::Status OfDevice(bool several, const std::string& device,
                      const absl::Status& status) {
  if (!several) return status;
  return absl::Status(status.code(),
                      absl::StrCat(device, ": ", status.message()));
}

std::string Text(const cache::CacheGeometry& geometry) {
  return absl::StrCat(geometry.layers, " layers of ", geometry.heads,
                      " heads of width ", geometry.head_width, " with ",
                      geometry.bytes_per_value, " bytes a value");
}

absl::Status CheckAlike(const std::vector<DeviceModel>& devices) {
  const cache::CacheGeometry first = devices[0].model->cache_geometry();
  for (const DeviceModel& device : devices) {
    const cache::CacheGeometry other = device.model->cache_geometry();
    if (other == first) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "all devices must have the same cache, but that of ", devices[0].device,
        " has ", Text(first), ", that of ", device.device, " ", Text(other)));
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
  std::vector<DeviceModel> devices(1);
  devices[0].model = std::move(model);
  return Create(options, std::move(devices), std::move(schedules), clock,
                observer);
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(
    const EngineOptions& options, std::vector<DeviceModel> devices,
    std::shared_ptr<const ScheduleBook> schedules, const Clock* clock,
    ServerObserver* observer) {
  HEATKV_CHECK(!devices.empty());
  if (options.pool_blocks < 1 || options.cached_prompts < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("engine options: pool_blocks ", options.pool_blocks,
                     " must be 1 or more, cached_prompts ",
                     options.cached_prompts, " 0 or more"));
  }
  RETURN_IF_ERROR(CheckOptions(
      WithLimit(options.scheduler, options.pool_blocks), options.pool_blocks));
  RETURN_IF_ERROR(CheckAlike(devices));
  HEATKV_CHECK(schedules->geometry() == devices[0].model->cache_geometry());
  for (const DeviceModel& device : devices) {
    const absl::Status created = device.model->CreateArena(options.pool_blocks);
    if (!created.ok()) {
      return OfDevice(devices.size() > 1, device.device, created);
    }
  }
  return std::unique_ptr<Engine>(new Engine(
      options, std::move(devices), std::move(schedules), clock, observer));
}

Engine::Engine(const EngineOptions& options, std::vector<DeviceModel> devices,
               std::shared_ptr<const ScheduleBook> schedules,
               const Clock* clock, ServerObserver* observer)
    : options_(options),
      clock_(clock),
      observer_(observer),
      geometry_(devices[0].model->cache_geometry()),
      state_(
          WithLimit(options.scheduler, options.pool_blocks),
          [spec = &devices[0].model->spec()](int ladder, int scale,
                                             int branches) {
            return model::GroupCapacity(*spec, ladder, scale, branches);
          },
          static_cast<int>(devices.size())) {
  state_.schedules = std::move(schedules);
  for (DeviceModel& device : devices) {
    const int number = static_cast<int>(devices_.size());
    devices_.push_back(std::make_unique<EngineDevice>(
        number, std::move(device.device), options, std::move(device.model),
        &state_, clock, observer));
  }
}

Engine::~Engine() {
  Drain(absl::InfinitePast());
  {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    state_.stopping = true;
    state_.Announce();
  }
  for (std::thread& thread : threads_) thread.join();
  for (const auto& device : devices_) device->WindUp();
  for (const auto& device : devices_) HEATKV_CHECK(!device->holds_images());
  HEATKV_CHECK(state_.requests.empty());
}

void Engine::Start() {
  HEATKV_CHECK(threads_.empty());
  for (const auto& device : devices_) {
    threads_.emplace_back([device = device.get()] { device->Run(); });
  }
}

absl::Status Engine::AwaitWarm() const {
  std::unique_lock<std::mutex> lock(state_.mutex);
  state_.is_warm.wait(lock, [this] {
    return std::all_of(state_.devices.begin(), state_.devices.end(),
                       [](const EngineState::OfDevice& device) {
                         return device.warm_up.has_value();
                       });
  });
  for (int d = 0; d < devices(); ++d) {
    const absl::Status& warm_up = *state_.devices[d].warm_up;
    if (!warm_up.ok()) {
      return OfDevice(devices() > 1, device_name(d), warm_up);
    }
  }
  return absl::OkStatus();
}

bool Engine::RunOnce() {
  bool any = false;
  for (const auto& device : devices_) any |= device->RunOnce();
  return any;
}

bool Engine::RunOnce(int device) { return devices_[device]->RunOnce(); }

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

  const std::lock_guard<std::mutex> lock(state_.mutex);
  if (state_.draining) {
    const bool is_for_good = state_.drain_deadline < absl::InfiniteFuture();
    return Refuse(
        Refusal::kDraining,
        WithRetryHint(absl::UnavailableError(
                          is_for_good ? "the server is shutting down"
                                      : "the server drains: it takes no new "
                                        "requests until it is undrained"),
                      absl::Seconds(5)));
  }
  if (const absl::Status health = state_.Health(); !health.ok()) {
    return Refuse(Refusal::kModelUnwell,
                  WithRetryHint(absl::UnavailableError(absl::StrCat(
                                    "the model cannot compute at present: ",
                                    health.message())),
                                ModelWatch::kRetryEvery));
  }
  const std::int64_t bytes = described->images * asked.peak_bytes();
  if (absl::Status joins = state_.scheduler.queue().MayJoin(bytes);
      !joins.ok()) {
    const bool is_full = state_.scheduler.queue().size() >=
                         state_.scheduler.options().queue.max_requests;
    return Refuse(is_full ? Refusal::kQueueFull : Refusal::kBytesFull,
                  WithRetryHint(std::move(joins), RetryAfter()));
  }
  if (const std::int64_t peak =
          described->choices.back().trajectory->peak_blocks();
      peak > state_.scheduler.options().limit_blocks) {
    return Refuse(Refusal::kNeverFits,
                  absl::FailedPreconditionError(absl::StrCat(
                      "an image holds ", asked.bytes(peak),
                      " bytes of cache at its peak, but the pool has just been "
                      "made smaller, to ",
                      asked.bytes(state_.scheduler.options().limit_blocks))));
  }
  const RequestEstimate estimate = EstimateLocked(*described);
  if (estimate.least_wait.has_value()) {
    const absl::Duration least = *estimate.least_wait + *estimate.least_run;
    const absl::Duration left = request.deadline - described->arrived;
    if (least > left) {
      if (state_.requests.empty()) state_.costs.Doubt();
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

  const std::uint64_t number = state_.next_number++;
  described->number = number;
  described->image_byte_seconds =
      state_.costs.ByteSeconds(request.ladder, asked);
  auto running = std::make_shared<RunningRequest>(
      number, std::move(request), std::move(sink), std::move(knobs),
      described->arrived, devices());
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
  state_.requests[number] = std::move(running);
  state_.scheduler.Enqueue(*std::move(described));
  state_.Announce();
  return number;
}

void Engine::Cancel(std::uint64_t request, CancelCause cause) {
  const std::lock_guard<std::mutex> lock(state_.mutex);
  const auto found = state_.requests.find(request);
  if (found == state_.requests.end() || !found->second->ending.ok()) return;
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
  state_.Announce();
}

void Engine::Drain(absl::Time deadline) {
  const std::lock_guard<std::mutex> lock(state_.mutex);
  state_.draining = true;
  state_.drain_deadline = std::min(state_.drain_deadline, deadline);
}

void Engine::Undrain() {
  const std::lock_guard<std::mutex> lock(state_.mutex);
  if (clock_->Now() >= state_.drain_deadline) return;
  state_.draining = false;
  state_.drain_deadline = absl::InfiniteFuture();
}

bool Engine::AwaitIdle(absl::Duration timeout) const {
  std::unique_lock<std::mutex> lock(state_.mutex);
  const auto idle = [this] { return state_.requests.empty(); };
  if (timeout == absl::InfiniteDuration()) {
    state_.is_idle.wait(lock, idle);
    return true;
  }
  return state_.is_idle.wait_for(lock, absl::ToChronoNanoseconds(timeout),
                                 idle);
}

absl::Status Engine::Reconfigure(
    const SchedulerOptions& options,
    std::shared_ptr<const ScheduleBook> schedules) {
  RETURN_IF_ERROR(CheckOptions(options, options_.pool_blocks));
  HEATKV_CHECK(schedules->geometry() == geometry_);
  const std::lock_guard<std::mutex> lock(state_.mutex);
  state_.scheduler.SetOptions(options);
  state_.schedules = std::move(schedules);
  // Those that no longer fit, whatever else finishes, would wait for ever.
  for (const QueuedRequest* queued :
       state_.scheduler.queue().InOrder(clock_->Now())) {
    const std::int64_t peak = state_.scheduler.LeastPeak(queued->number);
    if (peak <= options.limit_blocks) continue;
    RunningRequest& request = *state_.requests.at(queued->number);
    if (!request.ending.ok()) continue;
    request.over_since = clock_->Now();
    request.cause = EndCause::kFailure;
    request.ending = absl::FailedPreconditionError(absl::StrCat(
        "the pool was made smaller while the request waited: an image holds ",
        peak * geometry_.block_bytes(), " bytes at its peak, the pool has ",
        options.limit_blocks * geometry_.block_bytes()));
  }
  state_.Announce();
  return absl::OkStatus();
}

absl::StatusOr<int> Engine::CountTokens(absl::string_view prompt) const {
  return devices_[0]->model().CountTokens({prompt.data(), prompt.size()});
}

std::shared_ptr<const ScheduleBook> Engine::schedules() const {
  const std::lock_guard<std::mutex> lock(state_.mutex);
  return state_.schedules;
}

SchedulerOptions Engine::scheduler_options() const {
  const std::lock_guard<std::mutex> lock(state_.mutex);
  return state_.scheduler.options();
}

void Engine::ViewPool(bool per_head, std::function<void(PoolSnapshot)> done) {
  auto view = std::make_shared<PoolView>();
  view->per_head = per_head;
  view->done = std::move(done);
  view->devices_left = devices();
  const std::lock_guard<std::mutex> lock(state_.mutex);
  for (EngineState::OfDevice& device : state_.devices) {
    device.views.push_back(view);
  }
  state_.Announce();
}

EngineStats Engine::Stats() const {
  const std::lock_guard<std::mutex> lock(state_.mutex);
  return state_.Stats(clock_->Now());
}

}  // namespace heatkv::server
