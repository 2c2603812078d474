#include "server/engine/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "cache/admission.h"
#include "server/engine/device_flight.h"
#include "server/engine/scheduler_state.h"

namespace heatkv::server {

Scheduler::Scheduler(SchedulerOptions options, StepCapacity capacity,
                     int devices)
    : state_(std::make_unique<State>(std::move(options), std::move(capacity),
                                     devices)) {
  HEATKV_CHECK_GE(devices, 1);
}

Scheduler::~Scheduler() = default;

int Scheduler::devices() const {
  return static_cast<int>(state_->devices.size());
}

void Scheduler::SetOptions(SchedulerOptions options) {
  State& s = *state_;
  s.options = std::move(options);
  s.queue.SetOptions(s.options.queue);
  // A turn may be under way, after which images hold more: Next finds out.
  for (State::Device& device : s.devices) device.flight.LimitMayHaveFallen();
}

const SchedulerOptions& Scheduler::options() const { return state_->options; }

void Scheduler::SetWell(int device, bool is_well) {
  State& s = *state_;
  s.devices[device].is_well = is_well;
  for (const auto& [number, request] : s.requests) {
    s.UpdateQueue(number, request);
  }
}

const FairQueue& Scheduler::queue() const { return state_->queue; }

void Scheduler::SetHeld(std::uint64_t request, bool held) {
  for (int d = 0; d < devices(); ++d) SetHeld(request, held, d);
}

void Scheduler::SetHeld(std::uint64_t request, bool held, int device) {
  const auto found = state_->requests.find(request);
  if (found == state_->requests.end()) return;
  found->second.is_held[device] = held;
  state_->UpdateQueue(request, found->second);
}

void Scheduler::Enqueue(ScheduledRequest request) {
  HEATKV_CHECK(!request.choices.empty() && request.images >= 1);
  QueuedRequest queued;
  queued.number = request.number;
  queued.tenant = request.tenant;
  queued.priority = request.priority;
  queued.arrived = request.arrived;
  queued.images = request.images;
  queued.image_bytes = request.choices.front().trajectory->peak_bytes();
  queued.image_byte_seconds = request.image_byte_seconds;
  state_->queue.Join(std::move(queued));
  State::Request& added = state_->requests[request.number];
  added.asked = std::move(request);
  added.is_held.assign(devices(), false);
}

void Scheduler::StepDone(ImageRef image) {
  const auto [device, index] = state_->Find(image);
  HEATKV_CHECK(index >= 0 && device->flight.image(index).in_turn)
      << "request " << image.request << ", image " << image.image;
  if (device->flight.StepDone(index)) {
    --state_->requests.at(image.request).running;
    state_->ForgetIfDone(image.request);
  }
}

void Scheduler::RemoveImage(ImageRef image) {
  const auto [device, index] = state_->Find(image);
  if (index < 0) return;
  device->flight.Drop(index);
  --state_->requests.at(image.request).running;
  state_->ForgetIfDone(image.request);
}

void Scheduler::RemoveRequest(std::uint64_t number) {
  for (int d = 0; d < devices(); ++d) RemoveRequestFrom(number, d);
}

void Scheduler::RemoveRequestFrom(std::uint64_t number, int device) {
  State& s = *state_;
  const auto found = s.requests.find(number);
  if (found == s.requests.end()) return;
  State::Request& request = found->second;
  s.queue.Remove(number);
  request.is_removed = true;
  DeviceFlight& flight = s.devices[device].flight;
  for (int i = flight.size() - 1; i >= 0; --i) {
    if (flight.image(i).ref.request != number) continue;
    flight.Drop(i);
    --request.running;
  }
  s.ForgetIfDone(number);
}

bool Scheduler::Has(std::uint64_t number) const {
  return state_->requests.find(number) != state_->requests.end();
}

const TierChoice& Scheduler::Choice(std::uint64_t request) const {
  const State::Request& found = state_->requests.at(request);
  HEATKV_CHECK_GE(found.choice, 0) << "request " << request;
  return found.asked.choices[found.choice];
}

std::int64_t Scheduler::LeastPeak(std::uint64_t request) const {
  const State::Request& found = state_->requests.at(request);
  const auto& choices = found.asked.choices;
  const TierChoice& choice =
      found.choice >= 0 ? choices[found.choice] : choices.back();
  return choice.trajectory->peak_blocks();
}

std::int64_t Scheduler::EffectiveLimit(int device) const {
  return state_->devices[device].flight.EffectiveLimit(state_->limit());
}

std::int64_t Scheduler::FreeBlocks(int device) const {
  return state_->FreeBlocks(state_->devices[device]);
}

bool Scheduler::WouldStartNow(const ScheduledRequest& request, absl::Time now,
                              std::string* reason) const {
  const State& s = *state_;
  if (!s.queue.empty()) {
    *reason = absl::StrCat(s.queue.size(), " requests wait before it");
    return false;
  }
  State::Request candidate;
  candidate.asked = request;
  const int its_class = s.order.ClassOf(request.priority, now, now);
  // The reason of the device that comes nearest to it.
  reason->clear();
  std::vector<std::pair<std::int64_t, const State::Device*>> most_free_first;
  for (const State::Device& device : s.devices) {
    if (s.TakesImages(device)) {
      most_free_first.push_back({-s.FreeBlocks(device), &device});
    }
  }
  std::stable_sort(
      most_free_first.begin(), most_free_first.end(),
      [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [free, device] : most_free_first) {
    const DeviceFlight& flight = device->flight;
    std::string its_reason;
    const cache::Trajectory& trajectory =
        *request.choices[s.Choose(candidate, flight)].trajectory;
    if (flight.size() >= s.options.max_running_images) {
      its_reason = absl::StrCat(flight.size(), " of at most ",
                                s.options.max_running_images,
                                " images are in the making");
    } else if (!s.order.GoesFirst(its_class, State::FirstStepOf(request),
                                  flight, now)) {
      its_reason =
          absl::StrCat(flight.size(), " images in the making go first");
    } else {
      const cache::AdmissionDecision decision =
          s.options.rule == AdmissionRule::kSafeState
              ? cache::DecideAdmission(s.limit(), flight.progress(), trajectory)
              : cache::DecideAdmissionBySumOfPeaks(s.limit(), flight.progress(),
                                                   trajectory);
      if (flight.is_lowered() ||
          decision.verdict != cache::AdmissionVerdict::kAdmit) {
        its_reason =
            absl::StrCat("all together need a pool of ",
                         trajectory.bytes(decision.blocks_needed),
                         " bytes; it has ", trajectory.bytes(s.limit()));
      }
    }
    if (its_reason.empty()) {
      reason->clear();
      return true;
    }
    if (reason->empty()) *reason = std::move(its_reason);
  }
  return false;
}

std::vector<Scheduler::Flight> Scheduler::InFlight() const {
  std::vector<Flight> all;
  for (int d = 0; d < devices(); ++d) {
    const DeviceFlight& flight = state_->devices[d].flight;
    for (int i = 0; i < flight.size(); ++i) {
      all.push_back({flight.image(i).ref, flight.image(i).asked->ladder,
                     flight.progress(i), d});
    }
  }
  return all;
}

int Scheduler::running_images() const {
  int sum = 0;
  for (const auto& device : state_->devices) sum += device.flight.size();
  return sum;
}

std::int64_t Scheduler::blocks_held() const {
  std::int64_t sum = 0;
  for (const auto& device : state_->devices) sum += device.flight.held();
  return sum;
}

std::int64_t Scheduler::peak_sum_blocks() const {
  std::int64_t sum = 0;
  for (const auto& device : state_->devices) sum += device.flight.peak_sum();
  return sum;
}

}  // namespace heatkv::server
