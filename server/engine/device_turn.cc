// How a device executes its turns.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "server/engine/engine_device.h"

namespace heatkv::server {

void EngineDevice::BeginRequest(RunningRequest* request) {
  absl::Duration queued;
  bool is_lower_tier = false;
  {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    if (request->trajectory != nullptr) return;
    const TierChoice& choice = state_.scheduler.Choice(request->number);
    queued = clock_->Now() - request->arrived;
    request->usage.queue = queued;
    request->usage.tier = choice.tier;
    request->trajectory = choice.trajectory;
    is_lower_tier = choice.tier != request->asked.tier;
    // Under the lock, so that it comes before all that other devices report.
    request->Tell(
        StartedEvent{queued, choice.tier, request->trajectory->peak_bytes()});
  }
  observer_->OnStage(Stage::kQueue, queued);
  if (is_lower_tier) observer_->OnLowerTier();
}

absl::Status EngineDevice::EnsureText(RunningRequest* request) {
  std::shared_ptr<const model::EncodedText>& here = request->on[number_].text;
  if (here != nullptr) return absl::OkStatus();
  here = prompts_.Find(request->asked.prompt);
  if (here != nullptr) {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    request->usage.text_was_cached =
        request->usage.text == absl::ZeroDuration();
    return absl::OkStatus();
  }
  const absl::Time begin = clock_->Now();
  auto text = model_->EncodeText(request->asked.prompt);
  const absl::Duration took = clock_->Now() - begin;
  observer_->OnStage(Stage::kText, took);
  {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    request->usage.text += took;
    request->usage.text_was_cached = false;
    if (text.ok()) state_.costs.RecordText(took);
  }
  if (!text.ok()) {
    // Not if the text was at fault.
    if (!absl::IsInvalidArgument(text.status())) {
      watch_.OnFailure(clock_->Now());
    }
    return text.status();
  }
  here = *std::move(text);
  prompts_.Insert(request->asked.prompt, here);
  return absl::OkStatus();
}

absl::Status EngineDevice::StartImage(const ImageRef& ref,
                                      const RequestPtr& request) {
  BeginRequest(request.get());
  RETURN_IF_ERROR(EnsureText(request.get()));
  RunningImage image;
  image.request = request;
  image.index = ref.image;
  model::SamplingKnobs knobs = request->knobs;
  knobs.seed = request->asked.seeds[image.index];
  auto state = model_->StartImage(request->on[number_].text,
                                  request->asked.ladder, knobs);
  if (!state.ok()) {
    watch_.OnFailure(clock_->Now());
    return state.status();
  }
  image.state = *std::move(state);
  image.lists =
      std::make_unique<cache::BlockLists>(&pool_, request->trajectory);
  images_.emplace(ref, std::move(image));
  return absl::OkStatus();
}

bool EngineDevice::EnsureStarted(const ImageRef& ref) {
  if (images_.contains(ref)) return true;
  RequestPtr request;
  {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    const auto found = state_.requests.find(ref.request);
    // Failed with another image.
    if (found == state_.requests.end() ||
        found->second->on[number_].has_ended) {
      return false;
    }
    request = found->second;
    ++request->live_images;
  }
  const absl::Status started = StartImage(ref, request);
  {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    if (started.ok()) {
      ++request->images_started;
      request->usage.byte_seconds += request->image_byte_seconds;
    } else {
      --request->live_images;
    }
  }
  if (!started.ok()) {
    FailRequest(std::move(request), started);
    return false;
  }
  observer_->OnCharge(request->asked.tenant, request->image_byte_seconds);
  return true;
}

void EngineDevice::Execute(const Turn& turn) {
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
      model_->spec().ladders[turn.ladder].ladder.tokens(turn.scale);
  for (const ImageRef& ref : group) images_.at(ref).lists->FinishStep();
  {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    for (std::size_t i = 0; i < group.size(); ++i) {
      if (!statuses[i].ok()) continue;
      state_.scheduler.StepDone(group[i]);
      RunningRequest& request = *images_.at(group[i]).request;
      request.usage.scales += took;
      request.usage.peak_cache_bytes =
          std::max(request.usage.peak_cache_bytes,
                   request.trajectory->bytes(plans[i].blocks_peak));
    }
    // A step that failed says nothing about one that does not.
    if (failed == 0) {
      state_.costs.RecordStep(turn.ladder, turn.scale, turn.branches,
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
    found->second.scales_took += took;
    ReportScale(found->second, plans[i], took);
    AfterScale(group[i], turn.scale);
  }
}

void EngineDevice::ReportScale(const RunningImage& image,
                               const cache::StepPlan& plan,
                               absl::Duration took) {
  RunningRequest& request = *image.request;
  const cache::Trajectory& trajectory = *request.trajectory;
  observer_->OnScale(plan.scale, took);
  request.Tell(ScaleDoneEvent{
      image.index, plan.scale, trajectory.schedule()->ladder().grid(plan.scale),
      trajectory.bytes(image.lists->blocks_held()),
      trajectory.bytes(trajectory.blocks_after(plan.scale)), took});
}

void EngineDevice::AfterScale(const ImageRef& ref, int scale) {
  const RunningImage& image = images_.at(ref);
  const RequestPtr request = image.request;
  const bool is_last = image.lists->next_scale() ==
                       request->trajectory->schedule()->ladder().num_scales();
  const bool previews = !request->asked.preview_after.empty() &&
                        request->asked.preview_after[scale];
  if (!is_last && !previews) return;
  bool is_over = false;
  {
    const absl::Time now = clock_->Now();
    const std::lock_guard<std::mutex> lock(state_.mutex);
    is_over = IsOver(request.get(), now);
  }
  if (is_over) {
    End(request);
    return;
  }
  const absl::Time begin = clock_->Now();
  absl::StatusOr<model::RgbImage> picture = model_->Decode(*image.state);
  const absl::Duration took = clock_->Now() - begin;
  observer_->OnStage(Stage::kDecode, took);
  bool is_first_picture = false;
  {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    request->usage.decode += took;
    is_first_picture = picture.ok() && !request->has_shown_picture;
    request->has_shown_picture |= picture.ok();
  }
  if (!picture.ok()) {
    watch_.OnFailure(clock_->Now());
    FailRequest(request, picture.status());
    return;
  }
  if (is_first_picture) {
    observer_->OnFirstPicture(clock_->Now() - request->arrived);
  }
  if (is_last) {
    HandOver(ref, *std::move(picture), scale, took);
  } else {
    request->Tell(PreviewEvent{image.index, scale, *std::move(picture)});
  }
}

void EngineDevice::HandOver(const ImageRef& ref, model::RgbImage picture,
                            int scale, absl::Duration decode_took) {
  const RunningImage& image = images_.at(ref);
  const RequestPtr request = image.request;
  const std::int64_t tokens =
      request->trajectory->schedule()->ladder().tokens(scale);
  observer_->OnStage(Stage::kScales, image.scales_took);
  observer_->OnImage(request->tier_name(), absl::OkStatus());
  request->Tell(ImageEvent{image.index, std::move(picture)});
  Release(ref);
  bool is_last = false;
  {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    state_.costs.RecordDecode(request->asked.ladder, static_cast<int>(tokens),
                              decode_took);
    --request->live_images;
    ++request->images_done;
    ++request->usage.images;
    is_last = request->images_done == request->images();
    PublishLocked();
  }
  if (is_last) End(request);
}

}  // namespace heatkv::server
