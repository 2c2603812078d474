#include "server/engine/engine_device.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/retry_hint.h"

namespace heatkv::server {
namespace {

// How often requests are looked at that wait for their readers alone.
constexpr auto kReaderPoll = std::chrono::milliseconds(20);

}  // namespace

EngineDevice::EngineDevice(int number, std::string name,
                           const EngineOptions& options,
                           std::unique_ptr<model::ImageModel> model,
                           EngineState* state, const Clock* clock,
                           ServerObserver* observer)
    : number_(number),
      name_(std::move(name)),
      state_(*state),
      clock_(clock),
      observer_(observer),
      geometry_(model->cache_geometry()),
      model_(std::move(model)),
      watch_(model_.get(),
             [this](const absl::Status& status) { OnModelHealth(status); }),
      pool_(options.pool_blocks),
      prompts_(options.cached_prompts, options.cached_prompt_bytes),
      head_blocks_(geometry_.heads_in_model(), 0) {
  Publish();
}

void EngineDevice::Run() {
  absl::Status status = model_->WarmUp();
  {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    state_.devices[number_].warm_up = std::move(status);
  }
  state_.is_warm.notify_all();
  Loop();
}

void EngineDevice::Loop() {
  while (true) {
    std::uint64_t seen = 0;
    {
      const std::lock_guard<std::mutex> lock(state_.mutex);
      seen = state_.news;
    }
    if (RunOnce()) continue;
    std::unique_lock<std::mutex> lock(state_.mutex);
    if (state_.stopping) return;
    const auto has_news = [this, seen] {
      return state_.stopping || state_.news != seen;
    };
    if (!state_.requests.empty()) {
      state_.has_news.wait_for(lock, kReaderPoll, has_news);
    } else if (watch_.is_well()) {
      state_.has_news.wait(lock, has_news);
    } else {
      state_.has_news.wait_for(
          lock, absl::ToChronoNanoseconds(ModelWatch::kRetryEvery), has_news);
    }
  }
}

bool EngineDevice::RunOnce() {
  watch_.Poll(clock_->Now());
  EndWhatIsOver();
  AnswerViews();
  HoldRequests();
  std::optional<Turn> turn;
  {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    const int waiting = state_.scheduler.queue().images();
    turn = state_.scheduler.Next(clock_->Now(), number_);
    // Some may have started on other devices.
    if (state_.scheduler.devices() > 1 &&
        state_.scheduler.queue().images() < waiting) {
      state_.Announce();
    }
  }
  if (turn.has_value()) {
    Execute(*turn);
  } else {
    ReportPositions();
  }
  Publish();
  return turn.has_value();
}

void EngineDevice::WindUp() {
  EndWhatIsOver();
  AnswerViews();
}

void EngineDevice::AnswerViews() {
  std::vector<std::shared_ptr<PoolView>> views;
  {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    views.swap(state_.devices[number_].views);
  }
  if (views.empty()) return;
  Publish();
  for (const auto& view : views) {
    std::vector<ImageSnapshot> mine;
    for (const auto& [ref, image] : images_) {
      mine.push_back(Describe(image, view->per_head));
    }
    PoolSnapshot snapshot;
    {
      const std::lock_guard<std::mutex> lock(state_.mutex);
      std::move(mine.begin(), mine.end(), std::back_inserter(view->images));
      if (--view->devices_left > 0) continue;
      snapshot.time = clock_->Now();
      snapshot.stats = state_.Stats(snapshot.time);
    }
    snapshot.images = std::move(view->images);
    std::stable_sort(snapshot.images.begin(), snapshot.images.end(),
                     [](const ImageSnapshot& a, const ImageSnapshot& b) {
                       return std::pair(a.request, a.image) <
                              std::pair(b.request, b.image);
                     });
    view->done(std::move(snapshot));
  }
}

ImageSnapshot EngineDevice::Describe(const RunningImage& image,
                                     bool per_head) const {
  const RunningRequest& request = *image.request;
  ImageSnapshot view;
  view.request = request.number;
  view.request_id = request.asked.request_id;
  view.tenant = request.asked.tenant;
  view.tier = request.tier_name();
  view.image = image.index;
  view.device = number_;
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
  return view;
}

bool EngineDevice::IsOver(RunningRequest* request, absl::Time now) {
  // Another device is ending it.
  if (request->is_finished) return false;
  // A client whose deadline passes also cancels: the deadline is the reason.
  if (now >= request->asked.deadline &&
      (request->ending.ok() || request->cause == EndCause::kClient)) {
    request->over_since = request->asked.deadline;
    request->cause = EndCause::kDeadline;
    request->ending = absl::DeadlineExceededError(absl::StrCat(
        "the deadline passed after ",
        absl::FormatDuration(now - request->arrived), ", with ",
        request->images_done, " of ", request->images(), " images done"));
  } else if (request->ending.ok() && state_.draining &&
             now >= state_.drain_deadline) {
    request->over_since = std::max(state_.drain_deadline, request->arrived);
    request->cause = EndCause::kShutdown;
    request->ending =
        WithRetryHint(absl::UnavailableError("the server is shutting down"),
                      absl::Seconds(5));
  }
  return !request->ending.ok();
}

void EngineDevice::EndWhatIsOver() {
  std::vector<RequestPtr> over;
  {
    const absl::Time now = clock_->Now();
    const std::lock_guard<std::mutex> lock(state_.mutex);
    for (const auto& [number, request] : state_.requests) {
      if (!request->on[number_].has_ended && IsOver(request.get(), now)) {
        over.push_back(request);
      }
    }
  }
  for (RequestPtr& request : over) End(std::move(request));
}

void EngineDevice::HoldRequests() {
  const std::lock_guard<std::mutex> lock(state_.mutex);
  for (const auto& [number, request] : state_.requests) {
    if (request->images_started == request->images()) continue;
    state_.scheduler.SetHeld(
        number, !request->sink->WantsMore() || !TextIsReady(request.get()),
        number_);
  }
}

bool EngineDevice::TextIsReady(RunningRequest* request) {
  RunningRequest::OnDevice& here = request->on[number_];
  if (here.text != nullptr) return true;
  const std::string& prompt = request->asked.prompt;
  if (!here.has_prepared_text) {
    here.has_prepared_text = true;
    if (!prompts_.Contains(prompt)) model_->PrepareText(prompt);
  }
  return model_->IsTextReady(prompt);
}

// With the lock held throughout, so that nobody hears of a position after its
// start.
void EngineDevice::ReportPositions() {
  const std::lock_guard<std::mutex> lock(state_.mutex);
  int position = 0;
  for (const QueuedRequest* waiting :
       state_.scheduler.queue().InOrder(clock_->Now())) {
    RunningRequest& request = *state_.requests.at(waiting->number);
    const int ahead = position++;
    if (request.trajectory != nullptr || request.reported_position == ahead) {
      continue;
    }
    request.reported_position = ahead;
    request.Tell(QueuedEvent{ahead});
  }
}

void EngineDevice::FailRequest(RequestPtr request, absl::Status status) {
  {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    if (request->ending.ok()) {
      request->over_since = clock_->Now();
      request->cause = EndCause::kFailure;
      request->ending = std::move(status);
    }
  }
  End(std::move(request));
}

void EngineDevice::End(RequestPtr request) {
  request->on[number_].has_ended = true;
  int released = 0;
  for (int i = 0; i < request->images(); ++i) {
    released += Release({request->number, i});
  }
  absl::Status status;
  {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    state_.scheduler.RemoveRequestFrom(request->number, number_);
    request->live_images -= released;
    // What the sink's owner looks at once it knows the end: no block is held.
    PublishLocked();
    if (request->is_finished) return;
    if (request->live_images > 0 || state_.scheduler.Has(request->number)) {
      state_.Announce();
      return;
    }
    request->is_finished = true;
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
  request->Finish(status);
  const std::lock_guard<std::mutex> lock(state_.mutex);
  state_.requests.erase(request->number);
  if (state_.requests.empty()) state_.is_idle.notify_all();
}

bool EngineDevice::Release(const ImageRef& ref) {
  const auto found = images_.find(ref);
  if (found == images_.end()) return false;
  CountHeads(*found->second.lists, -1);
  images_.erase(found);
  return true;
}

void EngineDevice::CountHeads(const cache::BlockLists& lists, int sign) {
  for (int layer = 0; layer < geometry_.layers; ++layer) {
    for (int head = 0; head < geometry_.heads; ++head) {
      head_blocks_[layer * geometry_.heads + head] +=
          sign * lists.blocks_held({layer, head});
    }
  }
}

void EngineDevice::OnModelHealth(const absl::Status& status) {
  const std::lock_guard<std::mutex> one_after_the_other(state_.health_mutex);
  bool was_well = false;
  bool is_well = false;
  {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    was_well = state_.Health().ok();
    state_.devices[number_].health = status;
    state_.scheduler.SetWell(number_, status.ok());
    is_well = state_.Health().ok();
    state_.Announce();
  }
  if (state_.devices.size() > 1) observer_->OnDeviceHealth(name_, status);
  if (is_well != was_well) observer_->OnModelHealth(status);
}

void EngineDevice::Publish() {
  const std::lock_guard<std::mutex> lock(state_.mutex);
  PublishLocked();
}

void EngineDevice::PublishLocked() {
  EngineState::OfDevice& mine = state_.devices[number_];
  DeviceStats& stats = mine.stats;
  stats.device = name_;
  stats.capacity_blocks = pool_.capacity();
  stats.effective_limit_blocks = state_.scheduler.EffectiveLimit(number_);
  stats.used_blocks = pool_.used();
  stats.high_water_blocks = pool_.high_water();
  stats.head_blocks = head_blocks_;
  stats.plan_error_blocks = pool_.used();
  stats.peak_sum_blocks = 0;
  stats.running_images = static_cast<int>(images_.size());
  mine.running_requests.clear();
  for (const auto& [ref, image] : images_) {
    const cache::Trajectory& trajectory = *image.request->trajectory;
    const int next = image.lists->next_scale();
    stats.plan_error_blocks -= trajectory.blocks_before(next);
    stats.peak_sum_blocks += trajectory.peak_blocks_from(next);
    if (mine.running_requests.empty() ||
        mine.running_requests.back() != ref.request) {
      mine.running_requests.push_back(ref.request);
    }
  }
}

}  // namespace heatkv::server
