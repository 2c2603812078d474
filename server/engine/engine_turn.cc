// The part of the engine that runs on its own thread.

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "server/engine/engine.h"
#include "server/engine/retry_hint.h"

namespace heatkv::server {
namespace {

// How often requests are looked at that wait for their readers alone.
constexpr auto kReaderPoll = std::chrono::milliseconds(20);

}  // namespace

void Engine::Loop() {
  while (true) {
    if (RunOnce()) continue;
    std::unique_lock<std::mutex> lock(mutex_);
    if (stopping_) return;
    if (!requests_.empty()) {
      has_work_.wait_for(lock, kReaderPoll);
      continue;
    }
    const auto has_work = [this] {
      return stopping_ || !requests_.empty() || !views_.empty();
    };
    if (watch_.is_well()) {
      has_work_.wait(lock, has_work);
    } else {
      has_work_.wait_for(
          lock, absl::ToChronoNanoseconds(ModelWatch::kRetryEvery), has_work);
    }
  }
}

bool Engine::RunOnce() {
  watch_.Poll(clock_->Now());
  EndWhatIsOver();
  AnswerViews();
  HoldRequests();
  std::optional<Turn> turn;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    turn = scheduler_.Next(clock_->Now());
  }
  if (turn.has_value()) {
    Execute(*turn);
  } else {
    ReportPositions();
  }
  Publish();
  return turn.has_value();
}

void Engine::AnswerViews() {
  std::vector<std::pair<bool, std::function<void(PoolSnapshot)>>> views;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    views.swap(views_);
  }
  if (views.empty()) return;
  Publish();
  for (const auto& [per_head, done] : views) {
    PoolSnapshot snapshot;
    snapshot.time = clock_->Now();
    snapshot.stats = Stats();
    for (const auto& [ref, image] : images_) {
      const RunningRequest& request = *image.request;
      ImageSnapshot view;
      view.request = request.number;
      view.request_id = request.asked.request_id;
      view.tenant = request.asked.tenant;
      view.tier = request.tier_name();
      view.image = image.index;
      view.scales_done = image.lists->next_scale();
      view.scales = request.trajectory->schedule()->ladder().num_scales();
      view.held_blocks = image.lists->blocks_held();
      view.peak_blocks =
          request.trajectory->peak_blocks_from(image.lists->next_scale());
      for (int layer = 0; per_head && layer < geometry_.layers; ++layer) {
        for (int head = 0; head < geometry_.heads; ++head) {
          view.head_blocks.push_back(image.lists->blocks_held({layer, head}));
        }
      }
      snapshot.images.push_back(std::move(view));
    }
    done(std::move(snapshot));
  }
}

bool Engine::IsOver(const RequestPtr& request) {
  const absl::Time now = clock_->Now();
  const std::lock_guard<std::mutex> lock(mutex_);
  // A client whose deadline passes also cancels: the deadline is the reason.
  if (now >= request->asked.deadline &&
      (request->ending.ok() || request->cause == EndCause::kClient)) {
    request->over_since = request->asked.deadline;
    request->cause = EndCause::kDeadline;
    request->ending = absl::DeadlineExceededError(absl::StrCat(
        "the deadline passed after ",
        absl::FormatDuration(now - request->arrived), ", with ",
        request->images_done, " of ", request->images(), " images done"));
  } else if (request->ending.ok() && draining_ && now >= drain_deadline_) {
    request->over_since = std::max(drain_deadline_, request->arrived);
    request->cause = EndCause::kShutdown;
    request->ending =
        WithRetryHint(absl::UnavailableError("the server is shutting down"),
                      absl::Seconds(5));
  }
  return !request->ending.ok();
}

void Engine::EndWhatIsOver() {
  std::vector<RequestPtr> all;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    all.reserve(requests_.size());
    for (const auto& [number, request] : requests_) all.push_back(request);
  }
  for (const RequestPtr& request : all) {
    if (IsOver(request)) End(request);
  }
}

void Engine::HoldRequests() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [number, request] : requests_) {
    if (request->images_started == request->images()) continue;
    scheduler_.SetHeld(
        number, !request->sink->WantsMore() || !TextIsReady(request.get()));
  }
}

bool Engine::TextIsReady(RunningRequest* request) {
  if (request->text != nullptr) return true;
  const std::string& prompt = request->asked.prompt;
  if (!request->has_prepared_text) {
    request->has_prepared_text = true;
    if (!prompts_.Contains(prompt)) model_->PrepareText(prompt);
  }
  return model_->IsTextReady(prompt);
}

void Engine::ReportPositions() {
  std::vector<RequestPtr> moved;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    int position = 0;
    for (const QueuedRequest* waiting :
         scheduler_.queue().InOrder(clock_->Now())) {
      const RequestPtr& request = requests_.at(waiting->number);
      const int ahead = position++;
      if (request->images_started > 0 || request->reported_position == ahead) {
        continue;
      }
      request->reported_position = ahead;
      moved.push_back(request);
    }
  }
  for (const RequestPtr& request : moved) {
    request->sink->OnEvent(QueuedEvent{request->reported_position});
  }
}

bool Engine::BeginRequest(const RequestPtr& request) {
  const absl::Time begin = clock_->Now();
  request->usage.queue = begin - request->arrived;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const TierChoice& choice = scheduler_.Choice(request->number);
    request->usage.tier = choice.tier;
    request->trajectory = choice.trajectory;
  }
  observer_->OnStage(Stage::kQueue, request->usage.queue);
  if (request->usage.tier != request->asked.tier) observer_->OnLowerTier();
  request->sink->OnEvent(StartedEvent{request->usage.queue, request->usage.tier,
                                      request->trajectory->peak_bytes()});
  request->text = prompts_.Find(request->asked.prompt);
  if (request->text != nullptr) {
    request->usage.text_was_cached = true;
    return true;
  }
  auto text = model_->EncodeText(request->asked.prompt);
  request->usage.text = clock_->Now() - begin;
  observer_->OnStage(Stage::kText, request->usage.text);
  if (!text.ok()) {
    // Not if the text was at fault.
    if (!absl::IsInvalidArgument(text.status())) {
      watch_.OnFailure(clock_->Now());
    }
    FailRequest(request, text.status());
    return false;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    costs_.RecordText(request->usage.text);
  }
  request->text = *std::move(text);
  prompts_.Insert(request->asked.prompt, request->text);
  return true;
}

bool Engine::EnsureStarted(const ImageRef& ref) {
  if (images_.contains(ref)) return true;
  RequestPtr request;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = requests_.find(ref.request);
    if (found == requests_.end()) return false;  // failed with another image
    request = found->second;
  }
  if (request->text == nullptr && !BeginRequest(request)) return false;

  RunningImage image;
  image.request = request;
  image.index = ref.image;
  model::SamplingKnobs knobs = request->knobs;
  knobs.seed = request->asked.seeds[image.index];
  auto state = model_->StartImage(request->text, request->asked.ladder, knobs);
  if (!state.ok()) {
    watch_.OnFailure(clock_->Now());
    FailRequest(request, state.status());
    return false;
  }
  image.state = *std::move(state);
  image.lists =
      std::make_unique<cache::BlockLists>(&pool_, request->trajectory);
  images_.emplace(ref, std::move(image));
  ++request->images_started;
  request->usage.byte_seconds += request->image_byte_seconds;
  observer_->OnCharge(request->asked.tenant, request->image_byte_seconds);
  return true;
}

void Engine::Execute(const Turn& turn) {
  for (const ImageRef& ref : turn.group) EnsureStarted(ref);
  ReportPositions();
  // A start that failed has ended its whole request.
  std::vector<ImageRef> group;
  for (const ImageRef& ref : turn.group) {
    if (images_.contains(ref)) group.push_back(ref);
  }
  if (group.empty()) return;

  std::vector<cache::StepPlan> plans;
  std::vector<model::StepItem> items;
  plans.reserve(group.size());  // items point at them
  for (const ImageRef& ref : group) {
    RunningImage& image = images_.at(ref);
    CountHeads(*image.lists, -1);
    plans.push_back(image.lists->PlanStep(turn.scale));
    CountHeads(*image.lists, +1);
    items.push_back({image.state.get(), &plans.back()});
  }
  const absl::Time begin = clock_->Now();
  const std::vector<absl::Status> statuses = model_->Step(items);
  const absl::Duration took = clock_->Now() - begin;
  HEATKV_CHECK_EQ(statuses.size(), items.size());
  observer_->OnStep(static_cast<int>(group.size()));
  const std::size_t failed =
      std::count_if(statuses.begin(), statuses.end(),
                    [](const absl::Status& status) { return !status.ok(); });

  const std::int64_t tokens =
      spec().ladders[turn.ladder].ladder.tokens(turn.scale);
  for (std::size_t i = 0; i < group.size(); ++i) {
    images_.at(group[i]).lists->FinishStep();
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (std::size_t i = 0; i < group.size(); ++i) {
      if (statuses[i].ok()) scheduler_.StepDone(group[i]);
    }
    // A step that failed says nothing about one that does not.
    if (failed == 0) {
      costs_.RecordStep(turn.ladder, turn.scale, turn.branches,
                        static_cast<int>(tokens),
                        static_cast<int>(group.size()), took);
    }
  }
  if (failed < group.size()) {
    watch_.OnSuccess();
  } else {
    watch_.OnFailure(clock_->Now());
  }
  for (std::size_t i = 0; i < group.size(); ++i) {
    const auto found = images_.find(group[i]);
    if (found == images_.end()) continue;  // ended with another image
    if (!statuses[i].ok()) {
      FailRequest(found->second.request,
                  absl::Status(statuses[i].code(),
                               absl::StrCat("image ", group[i].image,
                                            ", scale ", turn.scale + 1, ": ",
                                            statuses[i].message())));
      continue;
    }
    ReportScale(found->second, plans[i], took);
    AfterScale(group[i], turn.scale);
  }
}

void Engine::ReportScale(RunningImage& image, const cache::StepPlan& plan,
                         absl::Duration took) {
  RunningRequest& request = *image.request;
  const cache::Trajectory& trajectory = *request.trajectory;
  image.scales_took += took;
  request.usage.scales += took;
  request.usage.peak_cache_bytes = std::max(request.usage.peak_cache_bytes,
                                            trajectory.bytes(plan.blocks_peak));
  observer_->OnScale(plan.scale, took);
  request.sink->OnEvent(ScaleDoneEvent{
      image.index, plan.scale, trajectory.schedule()->ladder().grid(plan.scale),
      trajectory.bytes(image.lists->blocks_held()),
      trajectory.bytes(trajectory.blocks_after(plan.scale)), took});
}

void Engine::AfterScale(const ImageRef& ref, int scale) {
  RunningImage& image = images_.at(ref);
  const RequestPtr request = image.request;
  const cache::ScaleLadder& ladder = request->trajectory->schedule()->ladder();
  const bool is_last = image.lists->next_scale() == ladder.num_scales();
  const bool previews = !request->asked.preview_after.empty() &&
                        request->asked.preview_after[scale];
  if (!is_last && !previews) return;
  if (IsOver(request)) {
    End(request);
    return;
  }
  const absl::Time begin = clock_->Now();
  absl::StatusOr<model::RgbImage> picture = model_->Decode(*image.state);
  const absl::Duration took = clock_->Now() - begin;
  request->usage.decode += took;
  observer_->OnStage(Stage::kDecode, took);
  if (!picture.ok()) {
    watch_.OnFailure(clock_->Now());
    FailRequest(request, picture.status());
    return;
  }
  if (!request->has_shown_picture) {
    request->has_shown_picture = true;
    observer_->OnFirstPicture(clock_->Now() - request->arrived);
  }
  if (!is_last) {
    request->sink->OnEvent(
        PreviewEvent{image.index, scale, *std::move(picture)});
    return;
  }
  observer_->OnStage(Stage::kScales, image.scales_took);
  observer_->OnImage(request->tier_name(), absl::OkStatus());
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    costs_.RecordDecode(request->asked.ladder,
                        static_cast<int>(ladder.tokens(scale)), took);
  }
  request->sink->OnEvent(ImageEvent{image.index, *std::move(picture)});
  Release(ref);
  ++request->images_done;
  ++request->usage.images;
  if (request->images_done == request->images()) End(request);
}

void Engine::FailRequest(RequestPtr request, absl::Status status) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (request->ending.ok()) {
      request->over_since = clock_->Now();
      request->cause = EndCause::kFailure;
      request->ending = std::move(status);
    }
  }
  End(request);
}

void Engine::End(RequestPtr request) {
  for (int i = 0; i < request->images(); ++i) Release({request->number, i});
  absl::Status status;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    scheduler_.RemoveRequest(request->number);
    status = request->images_done == request->images() ? absl::OkStatus()
                                                       : request->ending;
  }
  for (int i = request->images_done; i < request->images(); ++i) {
    observer_->OnImage(request->tier_name(), status);
  }
  if (!status.ok() && request->images_started > 0) {
    observer_->OnRelease(request->cause, clock_->Now() - request->over_since);
  }
  request->usage.total = clock_->Now() - request->arrived;
  // What the sink's owner looks at once it knows the end: no block is held.
  Publish();
  request->sink->OnFinished(status, request->usage);
  const std::lock_guard<std::mutex> lock(mutex_);
  requests_.erase(request->number);
  if (requests_.empty()) is_idle_.notify_all();
}

void Engine::Release(const ImageRef& ref) {
  const auto found = images_.find(ref);
  if (found == images_.end()) return;
  CountHeads(*found->second.lists, -1);
  images_.erase(found);
}

void Engine::CountHeads(const cache::BlockLists& lists, int sign) {
  for (int layer = 0; layer < geometry_.layers; ++layer) {
    for (int head = 0; head < geometry_.heads; ++head) {
      head_blocks_[layer * geometry_.heads + head] +=
          sign * lists.blocks_held({layer, head});
    }
  }
}

void Engine::OnModelHealth(const absl::Status& status) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    model_health_ = status;
  }
  observer_->OnModelHealth(status);
}

void Engine::Publish() {
  EngineStats stats;
  stats.geometry = geometry_;
  stats.capacity_blocks = pool_.capacity();
  stats.used_blocks = pool_.used();
  stats.high_water_blocks = pool_.high_water();
  stats.head_blocks = head_blocks_;
  stats.plan_error_blocks = pool_.used();
  std::set<std::uint64_t> requests;
  for (const auto& [ref, image] : images_) {
    const cache::Trajectory& trajectory = *image.request->trajectory;
    const int next = image.lists->next_scale();
    stats.plan_error_blocks -= trajectory.blocks_before(next);
    stats.peak_sum_blocks += trajectory.peak_blocks_from(next);
    requests.insert(ref.request);
  }
  stats.running_images = static_cast<int>(images_.size());
  stats.running_requests = static_cast<int>(requests.size());
  const std::lock_guard<std::mutex> lock(mutex_);
  stats.effective_limit_blocks = scheduler_.EffectiveLimit();
  stats_ = std::move(stats);
}

}  // namespace heatkv::server
