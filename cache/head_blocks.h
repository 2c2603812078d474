// The blocks of one head of one layer of one image, all branches: the packing
// rule, and nothing else.
//
// Tokens are packed so that a head wastes few slots, whatever is dropped later:
//   * Sinks never leave, so those of all branches lie in one run: token i of
//     branch b is slot b * R + i of the head's first blocks (R sink tokens).
//   * A segment of n tokens owns floor(n / 16) whole blocks.
//   * Its remainder, n mod 16 tokens, lies in one block, which the head's
//     remainders and the end of its sink run share: the first one (oldest
//     first) with enough free slots in a row, else a new one.  A block without
//     tokens leaves at once.
// A head thus never holds more blocks than if every segment were paged alone,
// because a shared block exists only while at least one whole remainder or the
// sinks are in it.
//
// A plain state machine; who gives and takes blocks is the caller's
// BlockSource. Not thread-safe.

#ifndef CACHE_HEAD_BLOCKS_H_
#define CACHE_HEAD_BLOCKS_H_

#include <cstdint>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "cache/block_source.h"
#include "cache/ladder.h"
#include "cache/step_plan.h"

namespace heatkv::cache {

class HeadBlocks {
 public:
  HeadBlocks(const ScaleLadder& ladder, int branches);

  // Stores the tokens of scale `scale` of `branch`, and appends the slots that
  // token 0, 1, ... got to `slots`, unless it is null.  CHECKs that the segment
  // is not stored yet and that sinks come first and in order.
  void Store(const ScaleLadder& ladder, int branch, int scale,
             BlockSource* source, std::vector<BlockSpan>* slots);

  // Gives up the segment of a prunable source scale.  CHECKs that it is stored.
  void Drop(const ScaleLadder& ladder, int branch, int scale,
            BlockSource* source);

  // Gives up all.
  void Clear(BlockSource* source);

  // Appends the slots of all tokens of `branch` to `slots`, ascending by source
  // scale and token; neighbours in one block are one span.
  void AppendPrefix(int branch, std::vector<BlockSpan>* slots) const;

  bool Holds(int branch, int scale) const {
    return spans_of(branch, scale) > 0;
  }

  std::int64_t blocks() const { return blocks_; }
  std::int64_t tokens() const { return tokens_; }

 private:
  // What one branch has stored.
  struct Branch {
    // Of all segments, ascending by scale and token.  Those of the sinks, which
    // come first, are joined where they are neighbours in a block.
    std::vector<BlockSpan> spans;
    std::int32_t sink_spans = 0;
    int newest = -1;  // no later scale is stored
  };
  // A block that remainders share; bit i of `used` is slot i.
  struct SharedBlock {
    std::int32_t block = 0;
    std::uint16_t used = 0;
  };

  // How many spans a segment has; 0 if it is not stored.  For a sink, just
  // whether it is stored.
  std::int32_t& spans_of(int branch, int scale) {
    return segments_[branch * scales_ + scale];
  }
  const std::int32_t& spans_of(int branch, int scale) const {
    return segments_[branch * scales_ + scale];
  }
  // Spans of the segments before `scale`.
  std::int64_t SpansBefore(int branch, int scale) const;
  std::int32_t Take(BlockSource* source) {
    ++blocks_;
    return source->Take();
  }
  void Give(std::int32_t block, BlockSource* source) {
    --blocks_;
    source->Give(block);
  }
  void StoreSinks(const ScaleLadder& ladder, int branch, int scale,
                  BlockSource* source, std::vector<BlockSpan>* spans);
  BlockSpan PlaceRemainder(int tokens, BlockSource* source);

  // An image has hundreds of heads, all of which every step visits: what is
  // small lies in the object.
  int scales_;  // all but the last one, which is never stored
  int sink_scales_;
  // Whether a span of one segment can continue one of another: only if the
  // other has no whole block.
  bool may_join_;
  absl::InlinedVector<Branch, 2> branches_;
  absl::InlinedVector<std::int32_t, 24> segments_;  // [branch][scale]
  absl::InlinedVector<std::int32_t, 4> sink_run_;   // -1 where not yet taken
  absl::InlinedVector<SharedBlock, 4> shared_;      // oldest first
  std::int64_t blocks_ = 0;
  std::int64_t tokens_ = 0;
};

}  // namespace heatkv::cache

#endif  // CACHE_HEAD_BLOCKS_H_
