// The HeatKV policy once more, written down as literally as it is described
// (arXiv 2605.14877) and with no thought of speed: sets of segments, and every
// total counted afresh.  What cache/heatkv_solver.h is held against.

#ifndef TESTS_CACHE_LITERAL_HEATKV_H_
#define TESTS_CACHE_LITERAL_HEATKV_H_

#include <cstdint>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include "cache/budget.h"
#include "cache/ladder.h"
#include "cache/ranking.h"

namespace heatkv::cache {

// (source scale, layer, head).
using SegmentSet = std::set<std::tuple<int, int, int>>;

struct LiteralSchedule {
  std::vector<int> x;               // [t]
  std::vector<SegmentSet> final;    // F_t
  std::vector<SegmentSet> removed;  // F_{t-1} united with E_t
  // early[t][layer]: what leaves early after that layer, in order.
  std::vector<std::vector<std::vector<std::tuple<int, int, int>>>> early;
  // Tokens in the cache, one branch, after each (t, layer); t < scales - 1.
  std::vector<std::vector<std::int64_t>> tokens;
};

// No value if some layer cannot be brought under the budget.
std::optional<LiteralSchedule> LiteralHeatKv(const ScaleLadder& ladder,
                                             const Ranking& ranking,
                                             double budget);

}  // namespace heatkv::cache

#endif  // TESTS_CACHE_LITERAL_HEATKV_H_
