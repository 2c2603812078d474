// The HeatKV policy (arXiv 2605.14877): turns a ranking and a budget into a
// schedule, bit for bit the one that the authors' code computes.
//
// How many heads drop each source scale follows from the budget alone
// (Budget::heads_to_drop); which ones, from the ranking.  After target scale t
// the dropped set F_t is, for each prunable source scale s <= t, the first
// x_{t+1} heads of s's order.  Within scale t the layers are walked in order
// with the tokens of all layers counted; where they would pass the budget,
// segments of F_t in later layers leave early: highest layer first, then
// largest source scale, then rank.
//
// A pure function of a few milliseconds; any thread may call it.

#ifndef CACHE_HEATKV_SOLVER_H_
#define CACHE_HEATKV_SOLVER_H_

#include "absl/status/statusor.h"
#include "cache/budget.h"
#include "cache/ladder.h"
#include "cache/ranking.h"
#include "cache/schedule.h"

namespace heatkv::cache {

// Fails with InvalidArgument, naming both numbers, if
//   * `ranking` is of another model (layers, heads) or ladder (source scales);
//   * the budget is smaller than the sink tokens, which every head keeps;
//   * the budget, although not smaller than the sinks, cannot be met at some
//     layer because of rounding; the authors' code refuses the same budgets.
absl::StatusOr<Schedule> SolveHeatKv(const ScaleLadder& ladder, int layers,
                                     int heads, const Ranking& ranking,
                                     const Budget& budget);

}  // namespace heatkv::cache

#endif  // CACHE_HEATKV_SOLVER_H_
