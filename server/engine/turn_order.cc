#include "server/engine/turn_order.h"

#include <algorithm>

namespace heatkv::server {
namespace {

constexpr int kHighest = static_cast<int>(Priority::kHigh);

}  // namespace

int TurnOrder::ClassOf(Priority priority, absl::Time arrived,
                       absl::Time now) const {
  const std::int64_t risen = std::clamp<std::int64_t>(
      (now - arrived) / options_.queue.aging, 0, kHighest);
  return std::min(kHighest,
                  static_cast<int>(priority) + static_cast<int>(risen));
}

int TurnOrder::ClassInFlight(const DeviceFlight::Image& image,
                             absl::Time now) const {
  return ClassOf(image.asked->priority, image.asked->arrived, now);
}

// Without this, a large image could be overtaken for ever by small ones.
bool TurnOrder::IsOverdue(const DeviceFlight::Image& image,
                          absl::Time now) const {
  const absl::Duration aging = options_.queue.aging;
  return now >= image.started + aging + aging;
}

TurnRank TurnOrder::RankOf(int image_class, const StepKind& kind,
                           std::int64_t left) const {
  TurnRank rank;
  rank.below_highest = kHighest - image_class;
  rank.left = left;
  if (options_.policy == SchedulingPolicy::kPreview) {
    rank.is_alone = capacity_(kind.ladder, kind.scale, kind.branches) == 1;
    if (!rank.is_alone) rank.left = kind.scale;
  }
  return rank;
}

TurnRank TurnOrder::RankInFlight(const DeviceFlight& flight, int index,
                                 absl::Time now) const {
  const DeviceFlight::Image& image = flight.image(index);
  if (IsOverdue(image, now)) return {.is_in_time = 0};
  return RankOf(ClassInFlight(image, now), flight.KindOf(index),
                image.tokens_left);
}

std::vector<std::pair<TurnRank, int>> TurnOrder::InFlight(
    const DeviceFlight& flight, absl::Time now, const StepKind* kind) const {
  std::vector<std::pair<TurnRank, int>> order;
  for (int i = 0; i < flight.size(); ++i) {
    if (kind != nullptr && flight.KindOf(i) != *kind) continue;
    order.push_back({RankInFlight(flight, i, now), i});
  }
  std::sort(order.begin(), order.end());
  return order;
}

bool TurnOrder::GoesFirst(int waiting_class, const StepKind& kind,
                          const DeviceFlight& flight, absl::Time now) const {
  if (options_.policy == SchedulingPolicy::kLatency) {
    for (int i = 0; i < flight.size(); ++i) {
      const DeviceFlight::Image& image = flight.image(i);
      if (IsOverdue(image, now) || ClassInFlight(image, now) >= waiting_class) {
        return false;
      }
    }
    return true;
  }
  const TurnRank rank = RankOf(waiting_class, kind, 0);
  for (int i = 0; i < flight.size(); ++i) {
    if (RankInFlight(flight, i, now) < rank) return false;
  }
  return true;
}

}  // namespace heatkv::server
