#include "server/engine/engine.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "cache/admission.h"
#include "server/engine/retry_hint.h"

namespace heatkv::server {
namespace {

// The estimate of an image's time follows the last few images.
constexpr double kNewest = 0.25;

absl::Status Draining(absl::Duration retry_after) {
  return WithRetryHint(absl::UnavailableError("the server is shutting down"),
                       retry_after);
}

model::SamplingKnobs MakeKnobs(const GenerationRequest& request, int scales) {
  model::SamplingKnobs knobs;
  knobs.guidance.assign(scales, static_cast<float>(request.guidance));
  knobs.tau.assign(scales, static_cast<float>(request.tau));
  knobs.top_p = static_cast<float>(request.top_p);
  return knobs;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(
    const EngineOptions& options, std::unique_ptr<model::ImageModel> model,
    ScheduleBook schedules, const Clock* clock, ServerObserver* observer) {
  if (options.pool_blocks < 1 || options.max_running_images < 1 ||
      options.max_waiting_requests < 1 || options.cached_prompts < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("engine options: pool_blocks ", options.pool_blocks,
                     ", max_running_images ", options.max_running_images,
                     ", max_waiting_requests ", options.max_waiting_requests,
                     " must be 1 or more, cached_prompts ",
                     options.cached_prompts, " 0 or more"));
  }
  HEATKV_CHECK(schedules.geometry() == model->cache_geometry());
  RETURN_IF_ERROR(model->CreateArena(options.pool_blocks));
  return std::unique_ptr<Engine>(new Engine(
      options, std::move(model), std::move(schedules), clock, observer));
}

Engine::Engine(const EngineOptions& options,
               std::unique_ptr<model::ImageModel> model, ScheduleBook schedules,
               const Clock* clock, ServerObserver* observer)
    : options_(options),
      schedules_(std::move(schedules)),
      clock_(clock),
      observer_(observer),
      geometry_(model->cache_geometry()),
      model_(std::move(model)),
      pool_(options.pool_blocks),
      prompts_(options.cached_prompts),
      head_blocks_(geometry_.heads_in_model(), 0),
      waiting_(options.max_waiting_requests, options.max_waiting_bytes) {
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
  HEATKV_CHECK(images_.empty() && active_.empty());
}

void Engine::Start() {
  HEATKV_CHECK(!thread_.joinable());
  thread_ = std::thread([this] { Loop(); });
}

void Engine::Loop() {
  while (true) {
    if (RunOnce()) continue;
    std::unique_lock<std::mutex> lock(mutex_);
    has_work_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
  }
}

bool Engine::RunOnce() {
  EndWhatIsOver();
  Admit();
  ReportPositions();
  const bool worked = StepNext();
  Publish();
  return worked;
}

absl::StatusOr<std::uint64_t> Engine::Submit(GenerationRequest request,
                                             std::shared_ptr<EventSink> sink) {
  const auto& ladders = spec().ladders;
  HEATKV_CHECK(request.ladder >= 0 && request.ladder < ladders.size());
  HEATKV_CHECK(request.tier >= 0 && request.tier < schedules_.tiers().size());
  HEATKV_CHECK(!request.seeds.empty());
  const model::LadderSpec& ladder = ladders[request.ladder];
  const int scales = ladder.ladder.num_scales();
  HEATKV_CHECK(request.preview_after.empty() ||
               request.preview_after.size() == scales);

  model::SamplingKnobs knobs = MakeKnobs(request, scales);
  const auto& trajectory = schedules_.plan(request.ladder, request.tier)
                               .trajectory(knobs.branches());
  if (trajectory->peak_blocks() > pool_.capacity()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "an image of ", ladder.aspect, " ", ladder.pixel_class, " on tier \"",
        schedules_.tiers()[request.tier].name, "\" holds ",
        trajectory->peak_bytes(), " bytes of cache at its peak, but the pool ",
        "has ", trajectory->bytes(pool_.capacity())));
  }

  const std::lock_guard<std::mutex> lock(mutex_);
  if (draining_) return Draining(absl::Seconds(5));
  const std::int64_t bytes = static_cast<std::int64_t>(request.seeds.size()) *
                             trajectory->peak_bytes();
  if (absl::Status joins = waiting_.MayJoin(bytes); !joins.ok()) {
    return WithRetryHint(std::move(joins), RetryAfter());
  }
  const std::uint64_t number = next_number_++;
  auto running = std::make_shared<RunningRequest>(
      number, std::move(request), std::move(sink), std::move(knobs), trajectory,
      clock_->Now());
  running->usage.full_cache_bytes = trajectory->full_cache_bytes();
  // Under the lock, so that it comes before all that the engine thread reports.
  running->sink->OnEvent(AcceptedEvent{trajectory->peak_bytes(),
                                       trajectory->full_cache_bytes(),
                                       waiting_.size(), scales});
  requests_[number] = running;
  waiting_.Join(std::move(running));
  has_work_.notify_one();
  return number;
}

void Engine::Cancel(std::uint64_t request) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = requests_.find(request);
  if (found != requests_.end()) found->second->cancelled = true;
}

void Engine::Drain(absl::Time deadline) {
  const std::lock_guard<std::mutex> lock(mutex_);
  draining_ = true;
  drain_deadline_ = std::min(drain_deadline_, deadline);
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

absl::StatusOr<int> Engine::CountTokens(absl::string_view prompt) const {
  return model_->CountTokens({prompt.data(), prompt.size()});
}

EngineStats Engine::Stats() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  EngineStats stats = stats_;
  stats.waiting_requests = waiting_.size();
  stats.waiting_bytes = waiting_.bytes();
  if (!waiting_.empty()) {
    stats.oldest_wait = clock_->Now() - waiting_.front()->arrived;
  }
  stats.draining = draining_;
  return stats;
}

absl::Duration Engine::RetryAfter() const {
  return std::clamp(image_time_ * waiting_.images(), absl::Seconds(1),
                    absl::Minutes(1));
}

absl::Status Engine::EndReason(const RunningRequest& request) const {
  const absl::Time now = clock_->Now();
  if (now >= request.asked.deadline) {
    return absl::DeadlineExceededError(absl::StrCat(
        "the deadline passed after ",
        absl::FormatDuration(now - request.arrived), ", with ",
        request.images_done, " of ", request.images(), " images done"));
  }
  // After the deadline: a client whose deadline passes also cancels.
  if (request.cancelled) {
    return absl::CancelledError("cancelled by the client");
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (draining_ && now >= drain_deadline_) return Draining(absl::Seconds(5));
  return absl::OkStatus();
}

void Engine::EndWhatIsOver() {
  std::vector<RequestPtr> candidates(active_.begin(), active_.end());
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    candidates.insert(candidates.end(), waiting_.requests().begin(),
                      waiting_.requests().end());
  }
  for (const RequestPtr& request : candidates) {
    if (const absl::Status reason = EndReason(*request); !reason.ok()) {
      End(request, reason);
    }
  }
}

Engine::RequestPtr Engine::NextToStart(bool* waits) const {
  *waits = false;
  for (const RequestPtr& request : active_) {
    if (request->images_started < request->images()) return request;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (waiting_.empty()) return nullptr;
  *waits = true;
  return waiting_.front();
}

void Engine::Admit() {
  while (images_.size() < options_.max_running_images) {
    bool waits = false;
    const RequestPtr request = NextToStart(&waits);
    if (request == nullptr) return;
    std::vector<cache::RunningImage> running;
    for (const RunningImage& image : images_) {
      running.push_back(
          {image.lists->blocks_held(), image.lists->blocks_reserved()});
    }
    const cache::AdmissionDecision decision = cache::DecideAdmission(
        pool_.capacity(), running, request->trajectory->peak_blocks());
    HEATKV_CHECK(decision.verdict != cache::AdmissionVerdict::kNever);
    if (decision.verdict == cache::AdmissionVerdict::kWait) return;
    if (waits && !BeginRequest(request)) continue;
    StartImage(request);
  }
}

bool Engine::BeginRequest(const RequestPtr& request) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    HEATKV_CHECK(waiting_.PopFront() == request);
  }
  active_.push_back(request);
  const absl::Time begin = clock_->Now();
  request->usage.queue = begin - request->arrived;
  observer_->OnStage(Stage::kQueue, request->usage.queue);
  request->sink->OnEvent(StartedEvent{request->usage.queue});
  request->text = prompts_.Find(request->asked.prompt);
  if (request->text != nullptr) {
    request->usage.text_was_cached = true;
    return true;
  }
  auto text = model_->EncodeText(request->asked.prompt);
  request->usage.text = clock_->Now() - begin;
  observer_->OnStage(Stage::kText, request->usage.text);
  if (!text.ok()) {
    End(request, text.status());
    return false;
  }
  request->text = *std::move(text);
  prompts_.Insert(request->asked.prompt, request->text);
  return true;
}

bool Engine::StartImage(const RequestPtr& request) {
  RunningImage image;
  image.request = request;
  image.index = request->images_started++;
  model::SamplingKnobs knobs = request->knobs;
  knobs.seed = request->asked.seeds[image.index];
  auto state = model_->StartImage(request->text, request->asked.ladder, knobs);
  if (!state.ok()) {
    End(request, state.status());
    return false;
  }
  image.state = *std::move(state);
  auto reservation = pool_.Reserve(request->trajectory->peak_blocks());
  HEATKV_CHECK(reservation.has_value());
  image.lists = std::make_unique<cache::BlockLists>(*std::move(reservation),
                                                    request->trajectory);
  images_.push_back(std::move(image));
  return true;
}

void Engine::ReportPositions() {
  std::vector<RequestPtr> moved;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    int position = 0;
    for (const RequestPtr& request : waiting_.requests()) {
      if (request->reported_position != position) {
        request->reported_position = position;
        moved.push_back(request);
      }
      ++position;
    }
  }
  for (const RequestPtr& request : moved) {
    request->sink->OnEvent(QueuedEvent{request->reported_position});
  }
}

bool Engine::StepNext() {
  if (images_.empty()) return false;
  RunningImage image = std::move(images_.front());
  images_.pop_front();
  const RequestPtr request = image.request;
  const cache::Trajectory& trajectory = *request->trajectory;
  const int scale = image.lists->next_scale();

  CountHeads(*image.lists, -1);
  const absl::Time begin = clock_->Now();
  const cache::StepPlan plan = image.lists->PlanStep(scale);
  const model::StepItem item = {image.state.get(), &plan};
  const absl::Status status = model_->Step({&item, 1});
  const absl::Duration took = clock_->Now() - begin;
  image.lists->FinishStep();
  CountHeads(*image.lists, +1);
  if (!status.ok()) {
    const std::string where =
        absl::StrCat("image ", image.index, ", scale ", scale + 1, ": ");
    Release(std::move(image));
    End(request,
        absl::Status(status.code(), absl::StrCat(where, status.message())));
    return true;
  }

  image.scales_took += took;
  request->usage.scales += took;
  request->usage.peak_cache_bytes = std::max(
      request->usage.peak_cache_bytes, trajectory.bytes(plan.blocks_peak));
  observer_->OnScale(scale, took);
  request->sink->OnEvent(ScaleDoneEvent{
      image.index, scale, trajectory.schedule()->ladder().grid(scale),
      trajectory.bytes(image.lists->blocks_held()),
      trajectory.bytes(trajectory.blocks_after(scale)), took});
  AfterScale(std::move(image), scale);
  return true;
}

void Engine::AfterScale(RunningImage image, int scale) {
  const RequestPtr request = image.request;
  const bool is_last = image.lists->next_scale() ==
                       request->trajectory->schedule()->ladder().num_scales();
  const bool previews = !request->asked.preview_after.empty() &&
                        request->asked.preview_after[scale];
  if (!is_last && !previews) {
    images_.push_back(std::move(image));
    return;
  }
  if (const absl::Status reason = EndReason(*request); !reason.ok()) {
    Release(std::move(image));
    End(request, reason);
    return;
  }
  const absl::Time begin = clock_->Now();
  absl::StatusOr<model::RgbImage> picture = model_->Decode(*image.state);
  const absl::Duration took = clock_->Now() - begin;
  request->usage.decode += took;
  observer_->OnStage(Stage::kDecode, took);
  if (!picture.ok()) {
    Release(std::move(image));
    End(request, picture.status());
    return;
  }
  if (!is_last) {
    request->sink->OnEvent(
        PreviewEvent{image.index, scale, *std::move(picture)});
    images_.push_back(std::move(image));
    return;
  }
  observer_->OnStage(Stage::kScales, image.scales_took);
  observer_->OnImage(schedules_.tiers()[request->asked.tier].name,
                     absl::OkStatus());
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    image_time_ =
        (1 - kNewest) * image_time_ + kNewest * (image.scales_took + took);
  }
  request->sink->OnEvent(ImageEvent{image.index, *std::move(picture)});
  Release(std::move(image));
  ++request->images_done;
  ++request->usage.images;
  if (request->images_done == request->images()) {
    End(request, absl::OkStatus());
  }
}

void Engine::End(const RequestPtr& request, const absl::Status& status) {
  for (auto image = images_.begin(); image != images_.end();) {
    if (image->request != request) {
      ++image;
      continue;
    }
    RunningImage ended = std::move(*image);
    image = images_.erase(image);
    Release(std::move(ended));
  }
  active_.remove(request);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting_.RemoveIf([&](const RunningRequest& other) {
      return other.number == request->number;
    });
  }
  const std::string& tier = schedules_.tiers()[request->asked.tier].name;
  for (int i = request->images_done; i < request->images(); ++i) {
    observer_->OnImage(tier, status);
  }
  request->usage.total = clock_->Now() - request->arrived;
  // What the sink's owner looks at once it knows the end: no block is held.
  Publish();
  request->sink->OnFinished(status, request->usage);
  const std::lock_guard<std::mutex> lock(mutex_);
  requests_.erase(request->number);
  if (requests_.empty()) is_idle_.notify_all();
}

void Engine::Release(RunningImage image) {
  CountHeads(*image.lists, -1);
  image.state.reset();
  image.lists.reset();
}

void Engine::CountHeads(const cache::BlockLists& lists, int sign) {
  for (int layer = 0; layer < geometry_.layers; ++layer) {
    for (int head = 0; head < geometry_.heads; ++head) {
      head_blocks_[layer * geometry_.heads + head] +=
          sign * lists.blocks_held({layer, head});
    }
  }
}

void Engine::Publish() {
  EngineStats stats;
  stats.geometry = geometry_;
  stats.capacity_blocks = pool_.capacity();
  stats.reserved_blocks = pool_.reserved();
  stats.used_blocks = pool_.used();
  stats.high_water_blocks = pool_.high_water();
  stats.head_blocks = head_blocks_;
  stats.plan_error_blocks = pool_.used();
  for (const RunningImage& image : images_) {
    stats.plan_error_blocks -=
        image.request->trajectory->blocks_before(image.lists->next_scale());
  }
  stats.running_images = static_cast<int>(images_.size());
  stats.running_requests = static_cast<int>(active_.size());
  const std::lock_guard<std::mutex> lock(mutex_);
  stats_ = std::move(stats);
}

}  // namespace heatkv::server
