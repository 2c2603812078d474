// How the scheduler makes up the turn of a device.

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "base/check.h"
#include "server/engine/scheduler.h"
#include "server/engine/scheduler_state.h"

namespace heatkv::server {

bool Scheduler::State::Start(Request* request, absl::Time now,
                             std::int64_t limit, DeviceFlight* flight,
                             std::vector<int>* group) {
  const int choice = Choose(*request, *flight);
  const cache::Trajectory& trajectory =
      *request->asked.choices[choice].trajectory;
  if (options.rule == AdmissionRule::kSumOfPeaks &&
      flight->peak_sum() + trajectory.peak_blocks() > limit) {
    return false;
  }
  // Alone it fits in the end, if only on another tier.
  if (trajectory.peak_blocks() > limit) return false;
  flight->Start(&request->asked, request->started, &trajectory, now);
  group->push_back(flight->size() - 1);
  if (!flight->MayStep(limit, *group)) {
    group->pop_back();
    flight->TakeBackStart();
    return false;
  }
  request->choice = choice;
  ++request->started;
  ++request->running;
  queue.TakeImage(request->asked.number, now);
  return true;
}

bool Scheduler::State::StartOnIdle(Request* request, absl::Time now,
                                   int most_starts, Device* device) {
  DeviceFlight& flight = device->flight;
  const StepKind kind = FirstStepOf(request->asked);
  if (!flight.empty() &&
      (flight.KindOf(0) != kind || flight.size() >= most_starts ||
       flight.size() >= capacity(kind.ladder, kind.scale, kind.branches))) {
    return false;
  }
  const std::int64_t in_force = flight.SettleLimit(limit());
  if (flight.is_lowered()) return false;
  std::vector<int> group(flight.size());
  std::iota(group.begin(), group.end(), 0);
  return Start(request, now, in_force, &flight, &group);
}

Scheduler::State::Place Scheduler::State::FindPlace(Request* request,
                                                    absl::Time now,
                                                    const Draft& draft) {
  const StepKind kind = FirstStepOf(request->asked);
  const int its_class = ClassOf(request->asked, now);
  std::vector<std::pair<std::int64_t, int>> others;  // most free first
  for (int d = 0; d < static_cast<int>(devices.size()); ++d) {
    const std::int64_t free = FreeBlocks(devices[d]);
    if (free > FreeBlocks(devices[draft.device]) && TakesImages(devices[d]) &&
        !request->is_held[d]) {
      others.push_back({-free, d});
    }
  }
  std::sort(others.begin(), others.end());
  for (const auto& [free, d] : others) {
    Device& other = devices[d];
    if (other.flight.size() >= options.max_running_images) continue;
    if (other.is_idle && StartOnIdle(request, now, draft.most_starts, &other)) {
      return Place::kStartedElsewhere;
    }
    const cache::Trajectory& trajectory =
        *request->asked.choices[Choose(*request, other.flight)].trajectory;
    if (order.GoesFirst(its_class, kind, other.flight, now) &&
        trajectory.peak_blocks() <= limit() &&
        (options.rule == AdmissionRule::kSafeState ||
         other.flight.peak_sum() + trajectory.peak_blocks() <= limit()) &&
        other.flight.CouldTakeAfterTurn(limit(), trajectory)) {
      return Place::kIsElsewheres;
    }
  }
  return Place::kHere;
}

bool Scheduler::State::StartNext(absl::Time now, Draft* draft) {
  Device& device = devices[draft->device];
  while (HasRoomForOneMore(device.flight) && TakesImages(device) &&
         draft->starts < draft->most_starts) {
    const QueuedRequest* const waiting = queue.Next(now);
    if (waiting == nullptr) return false;
    Request& request = requests.at(waiting->number);
    if (request.is_held[draft->device]) return false;
    const StepKind kind = FirstStepOf(request.asked);
    if (draft->kind.has_value() ? kind != *draft->kind
                                : !order.GoesFirst(ClassOf(request.asked, now),
                                                   kind, device.flight, now)) {
      return false;
    }
    switch (FindPlace(&request, now, *draft)) {
      case Place::kStartedElsewhere:
        continue;
      case Place::kIsElsewheres:
        return false;
      case Place::kHere:
        break;
    }
    if (!Start(&request, now, draft->limit, &device.flight, &draft->group)) {
      return false;
    }
    draft->kind = kind;
    ++draft->starts;
    return true;
  }
  return false;
}

void Scheduler::State::Fill(absl::Time now, Draft* draft) {
  const StepKind kind = *draft->kind;
  const DeviceFlight& flight = devices[draft->device].flight;
  std::vector<int>& group = draft->group;
  const int room = capacity(kind.ladder, kind.scale, kind.branches);
  const std::vector<int> already = group;
  int refused = -1;
  for (const auto& [rank, index] : order.InFlight(flight, now, &kind)) {
    if (static_cast<int>(group.size()) >= room) return;
    if (std::find(already.begin(), already.end(), index) != already.end() ||
        flight.AreAlike(refused, index)) {
      continue;
    }
    group.push_back(index);
    if (flight.MayStep(draft->limit, group)) {
      refused = -1;
    } else {
      group.pop_back();
      refused = index;
    }
  }
  if (kind.scale != 0) return;
  while (static_cast<int>(group.size()) < room && StartNext(now, draft)) {
  }
}

void Scheduler::State::Continue(absl::Time now, Draft* draft) {
  const DeviceFlight& flight = devices[draft->device].flight;
  int refused = -1;
  for (const auto& [rank, index] : order.InFlight(flight, now)) {
    if (flight.AreAlike(refused, index)) continue;
    draft->group = {index};
    if (flight.MayStep(draft->limit, draft->group)) break;
    draft->group.clear();
    refused = index;
  }
  HEATKV_CHECK(!draft->group.empty()) << "no image can go on: " << flight.held()
                                      << " blocks held of " << draft->limit;
  draft->kind = flight.KindOf(draft->group.front());
}

int Scheduler::State::MostStarts() const {
  if (devices.size() == 1 || options.policy != SchedulingPolicy::kLatency) {
    return queue.images();
  }
  const int takers = DevicesThatTakeImages();
  return (queue.images() + takers - 1) / takers;
}

std::optional<Turn> Scheduler::Next(absl::Time now, int device) {
  State& s = *state_;
  DeviceFlight& flight = s.devices[device].flight;
  HEATKV_CHECK_EQ(flight.in_turn(), 0) << "the turn before is not reported";
  State::Draft draft;
  draft.device = device;
  draft.limit = flight.SettleLimit(s.limit());
  draft.most_starts = s.MostStarts();
  s.devices[device].is_idle = false;

  if (!s.StartNext(now, &draft) && !flight.empty()) s.Continue(now, &draft);
  if (draft.group.empty()) {
    s.devices[device].is_idle = true;
    return std::nullopt;
  }
  s.Fill(now, &draft);

  Turn turn;
  turn.ladder = draft.kind->ladder;
  turn.scale = draft.kind->scale;
  turn.branches = draft.kind->branches;
  for (const int index : draft.group) {
    turn.group.push_back(flight.image(index).ref);
  }
  flight.BeginTurn(draft.group);
  return turn;
}

}  // namespace heatkv::server
