#include "cache/schedule.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace heatkv::cache {

Schedule::Schedule(std::string policy, ScaleLadder ladder, int layers,
                   int heads, Budget budget, std::vector<Departure> departures,
                   std::vector<std::vector<EarlyDrop>> early_drops,
                   std::vector<int> heads_dropped)
    : policy_(std::move(policy)),
      ladder_(std::move(ladder)),
      layers_(layers),
      heads_(heads),
      budget_(budget),
      departures_(std::move(departures)),
      early_drops_(std::move(early_drops)),
      heads_dropped_(std::move(heads_dropped)) {
  CheckRules();
  // A segment is missing from the scale after the one in which it leaves, and
  // from that one too if it leaves early.
  std::vector<std::int64_t> missing(ladder_.num_scales() + 1, 0);
  for (const Departure& departure : departures_) {
    if (departure.scale != Departure::kNever) ++missing[departure.scale + 1];
  }
  removed_total_.resize(ladder_.num_scales());
  std::int64_t left_before = 0;
  for (int t = 0; t < ladder_.num_scales(); ++t) {
    left_before += missing[t];
    removed_total_[t] =
        left_before + static_cast<std::int64_t>(early_drops_[t].size());
  }
}

bool Schedule::IsRemoved(int target_scale, int source_scale,
                         HeadIndex head) const {
  const Departure leaves = departure(source_scale, head);
  return leaves.scale < target_scale ||
         (leaves.scale == target_scale && leaves.after_layer < head.layer);
}

bool Schedule::IsKeptAfter(int scale, int source_scale, HeadIndex head) const {
  return departure(source_scale, head).scale > scale;
}

std::span<const EarlyDrop> Schedule::early_drops(int target_scale,
                                                 int layer) const {
  const std::vector<EarlyDrop>& drops = early_drops_[target_scale];
  const auto begin = std::lower_bound(
      drops.begin(), drops.end(), layer,
      [](const EarlyDrop& drop, int l) { return drop.after_layer < l; });
  const auto end = std::upper_bound(
      begin, drops.end(), layer,
      [](int l, const EarlyDrop& drop) { return l < drop.after_layer; });
  return {begin, end};
}

void Schedule::CheckRules() const {
  const int scales = ladder_.num_scales();
  const int sources =
      std::max(0, ladder_.end_prunable() - ladder_.first_prunable());
  HEATKV_CHECK_EQ(departures_.size(),
                  static_cast<std::size_t>(sources) * layers_ * heads_);
  HEATKV_CHECK_EQ(early_drops_.size(), static_cast<std::size_t>(scales));
  HEATKV_CHECK_EQ(heads_dropped_.size(), static_cast<std::size_t>(scales));

  std::size_t early = 0;
  for (int s = ladder_.first_prunable(); s < ladder_.end_prunable(); ++s) {
    for (int layer = 0; layer < layers_; ++layer) {
      for (int head = 0; head < heads_; ++head) {
        const Departure leaves = departure(s, {.layer = layer, .head = head});
        if (leaves.scale == Departure::kNever) continue;
        HEATKV_CHECK(leaves.scale >= s && leaves.scale < scales - 1)
            << "source scale " << s << " leaves in scale " << leaves.scale;
        HEATKV_CHECK(leaves.after_layer >= 0 && leaves.after_layer <= layer)
            << "layer " << layer << " leaves after layer "
            << leaves.after_layer;
        if (leaves.after_layer == layer) continue;
        HEATKV_CHECK_GT(leaves.scale, s) << "not stored yet";
        ++early;
      }
    }
  }

  std::size_t listed = 0;
  for (int t = 0; t < scales; ++t) {
    int after_layer = 0;
    for (const EarlyDrop& drop : early_drops_[t]) {
      HEATKV_CHECK_GE(drop.after_layer, after_layer) << "scale " << t;
      after_layer = drop.after_layer;
      const Departure leaves = departure(drop.source_scale, drop.head);
      HEATKV_CHECK(leaves.scale == t && leaves.after_layer == after_layer &&
                   after_layer < drop.head.layer)
          << "early drop of scale " << t << ", layer " << drop.head.layer
          << ", head " << drop.head.head << " disagrees with its departure";
      ++listed;
    }
  }
  HEATKV_CHECK_EQ(listed, early) << "early drops are listed once each";
}

Schedule FullSchedule(const ScaleLadder& ladder, int layers, int heads) {
  const std::size_t sources =
      std::max(0, ladder.end_prunable() - ladder.first_prunable());
  return Schedule("full", ladder, layers, heads, Budget::Full(),
                  std::vector<Departure>(sources * layers * heads),
                  std::vector<std::vector<EarlyDrop>>(ladder.num_scales()),
                  std::vector<int>(ladder.num_scales(), 0));
}

}  // namespace heatkv::cache
