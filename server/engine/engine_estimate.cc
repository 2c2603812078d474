// What the engine says about requests before they start: how long they will
// take, and when to come again.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/engine/device_loads.h"
#include "server/engine/engine.h"
#include "server/engine/knobs.h"

namespace heatkv::server {

absl::StatusOr<RequestEstimate> Engine::EstimateRequest(
    const GenerationRequest& request) const {
  const int scales = spec().ladders[request.ladder].ladder.num_scales();
  ASSIGN_OR_RETURN(const ScheduledRequest described,
                   Describe(request, MakeKnobs(request, scales).branches()));
  const std::lock_guard<std::mutex> lock(state_.mutex);
  RequestEstimate estimate = EstimateLocked(described);
  estimate.trajectory = described.choices.front().trajectory;
  const cache::ScaleLadder& ladder = estimate.trajectory->schedule()->ladder();
  for (int s = 0; s < scales; ++s) {
    estimate.scale_times.push_back(
        state_.costs.Step(request.ladder, s, estimate.trajectory->branches(),
                          static_cast<int>(ladder.tokens(s))));
  }
  estimate.byte_seconds =
      described.images *
      state_.costs.ByteSeconds(request.ladder, *estimate.trajectory);
  estimate.admissible_now = state_.scheduler.WouldStartNow(
      described, clock_->Now(), &estimate.reason);
  if (state_.draining) {
    estimate.admissible_now = false;
    estimate.reason = "the server takes no requests now";
  } else if (const absl::Status health = state_.Health(); !health.ok()) {
    estimate.admissible_now = false;
    estimate.reason =
        absl::StrCat("the model cannot compute at present: ", health.message());
  }
  return estimate;
}

RequestEstimate Engine::EstimateLocked(const ScheduledRequest& request) const {
  RequestEstimate estimate;
  estimate.requests_ahead = state_.scheduler.queue().size();
  const cache::Trajectory& asked = *request.choices.front().trajectory;
  const auto image = state_.costs.Rest(request.ladder, asked, 0);
  if (!image.has_value()) return estimate;
  const std::vector<int> slots = DevicesInUse();
  const int devices = *std::max_element(slots.begin(), slots.end()) + 1;
  DeviceLoads in_flight(devices), waiting(devices), both(devices);
  DeviceLoads least(devices);
  for (const Scheduler::Flight& flight : state_.scheduler.InFlight()) {
    const int slot = slots[flight.device];
    if (slot < 0) continue;
    const RunningRequest& other = *state_.requests.at(flight.image.request);
    const absl::Duration rest =
        state_.costs
            .Rest(flight.ladder, *flight.progress.trajectory,
                  flight.progress.next_scale)
            .value_or(absl::ZeroDuration());
    in_flight.Bind(slot, rest);
    both.Bind(slot, rest);
    if (other.ending.ok() && other.asked.priority >= request.priority) {
      least.Bind(slot, rest);
    }
  }
  for (const QueuedRequest* queued :
       state_.scheduler.queue().InOrder(clock_->Now())) {
    if (queued->priority < request.priority) continue;
    const RunningRequest& other = *state_.requests.at(queued->number);
    const absl::Duration work = ImageWork(other);
    waiting.GiveOut(queued->images, work);
    both.GiveOut(queued->images, work);
    // Other tenants take turns with it.
    if (other.ending.ok() && other.asked.tenant == request.tenant) {
      least.GiveOut(queued->images, work);
    }
  }
  DeviceLoads own(devices);
  own.GiveOut(request.images, *image);
  const absl::Duration text =
      state_.costs.Text().value_or(absl::ZeroDuration());
  const bool is_latency =
      state_.scheduler.options().policy == SchedulingPolicy::kLatency;
  estimate.least_wait = is_latency ? least.Least() : absl::ZeroDuration();
  estimate.least_run = own.Most();
  if (is_latency) {
    estimate.expected_wait = both.Least();
    estimate.expected_run = own.Most() + text;
  } else {
    // What runs shares the device with it from its start.
    estimate.expected_wait = waiting.Least();
    estimate.expected_run = in_flight.Least() + own.Most() + text;
  }
  return estimate;
}

absl::Duration Engine::ImageWork(const RunningRequest& request) const {
  return state_.costs
      .Rest(request.asked.ladder,
            *request.plan(request.asked.tier)
                 .trajectory(request.knobs.branches()),
            0)
      .value_or(absl::ZeroDuration());
}

std::vector<int> Engine::DevicesInUse() const {
  const bool none_is_well = !state_.Health().ok();
  std::vector<int> slots;
  int used = 0;
  for (const EngineState::OfDevice& device : state_.devices) {
    slots.push_back(device.health.ok() || none_is_well ? used++ : -1);
  }
  return slots;
}

absl::Duration Engine::RetryAfter() const {
  DeviceLoads work(devices());
  for (const auto& [number, request] : state_.requests) {
    work.GiveOut(request->images() - request->images_done, ImageWork(*request));
  }
  return std::clamp(work.Most(), absl::Seconds(1), absl::Minutes(1));
}

}  // namespace heatkv::server
