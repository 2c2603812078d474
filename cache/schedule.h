// The schedule: when each segment, that is the tokens of one source scale in
// one head of one layer, leaves the cache of an image.
//
// It is static: fixed before the first token, the same for every image of its
// model, ladder and budget, and for both branches under guidance.  A policy
// (cache/heatkv_solver.h) makes it; cache/trajectory.h says how many blocks it
// needs; cache/block_lists.h obeys it.
//
// Inside a scale the layers run in order, and a segment can leave at two
// moments:
//   * at its own layer, after attention has read it (F_t of the method); a
//     segment of the scale being generated that goes this way is never stored;
//   * early: after an earlier layer, which spares its own layer's attention the
//     reading (E_t), because the cache would otherwise pass the budget while
//     the layers in between write the current scale.
// A segment never comes back.  Those of the sink scales never leave, those of
// the last scale are never stored; neither is asked about here.
//
// An immutable value; large, so share it through std::shared_ptr<const
// Schedule>.  Safe to read from any thread.

#ifndef CACHE_SCHEDULE_H_
#define CACHE_SCHEDULE_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cache/budget.h"
#include "cache/geometry.h"
#include "cache/ladder.h"

namespace heatkv::cache {

// When a segment leaves: in scale `scale`, after layer `after_layer`.
struct Departure {
  static constexpr int kNever = 0x7fff;

  std::int16_t scale = kNever;
  std::int16_t after_layer = 0;  // meaningless if scale is kNever

  friend bool operator==(const Departure&, const Departure&) = default;
};

// One segment that leaves early.
struct EarlyDrop {
  int after_layer = 0;  // of the target scale; less than head.layer
  int source_scale = 0;
  HeadIndex head;  // whose segment it is

  friend bool operator==(const EarlyDrop&, const EarlyDrop&) = default;
};

class Schedule {
 public:
  // departures[((s - first_prunable) * layers + layer) * heads + head] is when
  // the segment of source scale s leaves; early_drops[t] is E_t in the order in
  // which the segments leave; heads_dropped[t] is x_t (see below).  The three
  // must agree and obey the rules above: a policy that breaks them is a bug,
  // which the constructor CHECKs.
  Schedule(std::string policy, ScaleLadder ladder, int layers, int heads,
           Budget budget, std::vector<Departure> departures,
           std::vector<std::vector<EarlyDrop>> early_drops,
           std::vector<int> heads_dropped);

  const std::string& policy() const { return policy_; }  // "heatkv", "full"
  const ScaleLadder& ladder() const { return ladder_; }
  int layers() const { return layers_; }
  int heads() const { return heads_; }  // a layer
  const Budget& budget() const { return budget_; }

  // When the segment of a prunable source scale leaves.
  Departure departure(int source_scale, HeadIndex head) const {
    return departures_[Segment(source_scale, head)];
  }

  // Whether attention of `target_scale` finds the segment gone: removed(t) =
  // F_{t-1} united with E_t.  A head attends to its sinks, its segments that
  // are not removed, and the whole current scale.
  // REQUIRES: first_prunable <= source_scale < end_prunable.
  bool IsRemoved(int target_scale, int source_scale, HeadIndex head) const;

  // Whether the segment is in the cache once `scale` is complete, that is, not
  // in F_scale.  REQUIRES: first_prunable <= source_scale <= scale,
  // source_scale < end_prunable.
  bool IsKeptAfter(int scale, int source_scale, HeadIndex head) const;

  // E_t, ascending by after_layer and, within one layer, in the order in which
  // the policy chose them.
  std::span<const EarlyDrop> early_drops(int target_scale) const {
    return early_drops_[target_scale];
  }
  // Those of E_t that leave after `layer`.
  std::span<const EarlyDrop> early_drops(int target_scale, int layer) const;

  // x_t: heads that have dropped each prunable source scale when `target_scale`
  // starts, as the policy counted them.
  int heads_dropped(int target_scale) const {
    return heads_dropped_[target_scale];
  }
  // |removed(t)|: segments missing when `target_scale` attends.
  std::int64_t removed_total(int target_scale) const {
    return removed_total_[target_scale];
  }

  friend bool operator==(const Schedule&, const Schedule&) = default;

 private:
  std::size_t Segment(int source_scale, HeadIndex head) const {
    return (static_cast<std::size_t>(source_scale - ladder_.first_prunable()) *
                layers_ +
            head.layer) *
               heads_ +
           head.head;
  }
  void CheckRules() const;

  std::string policy_;
  ScaleLadder ladder_;
  int layers_;
  int heads_;
  Budget budget_;
  std::vector<Departure> departures_;
  std::vector<std::vector<EarlyDrop>> early_drops_;
  std::vector<int> heads_dropped_;
  std::vector<std::int64_t> removed_total_;
};

// The schedule that drops nothing.
Schedule FullSchedule(const ScaleLadder& ladder, int layers, int heads);

}  // namespace heatkv::cache

#endif  // CACHE_SCHEDULE_H_
