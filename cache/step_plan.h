// What one scale of one image does to the cache, as a value: which slots of
// which pool blocks each head reads as its kept prefix, and into which slots it
// writes the keys and values of the current scale.
//
// BlockLists::PlanStep makes a plan and thereby performs the bookkeeping of the
// whole scale (blocks released and taken, layer by layer); model/ executes it.
// A plan must be executed in layer order and at most once: inside a scale a
// block that layer l gave up may be written by layer l itself or a later one.
// So a layer reads the prefixes of all its rows before it writes any of its
// stores.  Plans of several images may be executed together, layer by layer: no
// plan writes what another one reads (cache/block_lists.h).
//
// A plan holds block numbers, no memory and no device pointers.

#ifndef CACHE_STEP_PLAN_H_
#define CACHE_STEP_PLAN_H_

#include <cstdint>
#include <span>
#include <vector>

#include "cache/geometry.h"

namespace heatkv::cache {

// `tokens` consecutive slots of one block, from slot `first`
// (0 <= first, first + tokens <= kBlockTokens).
struct BlockSpan {
  std::int32_t block = 0;
  std::int16_t first = 0;
  std::int16_t tokens = 0;

  friend bool operator==(const BlockSpan&, const BlockSpan&) = default;
};

struct StepPlan {
  int scale = 0;     // the target scale that is computed
  int branches = 0;  // 2 under guidance (conditional first), else 1
  int layers = 0;
  int heads = 0;

  // Rows are ordered (layer, branch, head).  Row r reads the slots
  // prefix[prefix_begin[r] .. prefix_begin[r + 1]) in ascending order of source
  // scale and token, then the whole current scale; and it writes the first,
  // second, ... token of the current scale to store[store_begin[r] ...) in
  // order.  A row whose head drops the current scale stores nothing.
  std::vector<BlockSpan> prefix;
  std::vector<std::int32_t> prefix_begin;  // size rows() + 1
  std::vector<BlockSpan> store;
  std::vector<std::int32_t> store_begin;  // size rows() + 1

  // Blocks that the image holds before, at most during, and after the scale.
  std::int64_t blocks_before = 0;
  std::int64_t blocks_peak = 0;
  std::int64_t blocks_after = 0;

  int rows() const { return layers * branches * heads; }
  int row(int layer, int branch, int head) const {
    return (layer * branches + branch) * heads + head;
  }
  std::span<const BlockSpan> prefix_of(int row) const {
    return {prefix.data() + prefix_begin[row],
            prefix.data() + prefix_begin[row + 1]};
  }
  std::span<const BlockSpan> store_of(int row) const {
    return {store.data() + store_begin[row],
            store.data() + store_begin[row + 1]};
  }
};

}  // namespace heatkv::cache

#endif  // CACHE_STEP_PLAN_H_
