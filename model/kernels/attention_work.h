// Which tiles each thread block of the attention kernel for Hopper GPUs
// (hopper_attention.h) computes, and in which order: the law, and where the
// lists lie.  A GPU writes them from where sequences begin in staging
// (deal_attention.h); a test does the same on the host.
//
// A sequence is a (row, head); all have the same number of queries, and a tile
// is up to kQueryTile of them with all keys of the sequence.  A tile's result
// does not depend on its block or on what else that block computes.
//
// The law: sequences are taken by descending number of keys, equal ones in
// their order, and their tiles in order; each tile goes to the block whose
// tiles so far cost least, among equals to the first.
//
// Plain values, for the host and for GPUs.

#ifndef MODEL_KERNELS_ATTENTION_WORK_H_
#define MODEL_KERNELS_ATTENTION_WORK_H_

#include <cstdint>

namespace heatkv::kernels {

// What the kernel takes at once.
inline constexpr int kQueryTile = 128;
inline constexpr int kKeyTile = 192;
// Thread blocks among which tiles can be dealt.
inline constexpr int kMostAttentionBlocks = 256;

// What a tile costs that has so many keys, in halves of what a tile of keys
// does.  What comes before and after the keys is counted as one and a half.
constexpr int TileCost(int keys) {
  return 2 * ((keys + kKeyTile - 1) / kKeyTile) + 3;
}

struct AttentionShape {
  int rows = 0;
  int heads = 0;
  int tokens = 0;  // queries of each sequence
  int blocks = 0;  // at most kMostAttentionBlocks

  constexpr int sequences() const { return rows * heads; }
  constexpr int tiles() const {  // of each sequence
    return (tokens + kQueryTile - 1) / kQueryTile;
  }
  constexpr int items() const { return sequences() * tiles(); }
};

// Places in the work list of a layer, int32.  The items of block b are those
// from begin()[b] to begin()[b + 1] of the arrays behind it.
class AttentionWorkLayout {
 public:
  explicit constexpr AttentionWorkLayout(const AttentionShape& shape)
      : blocks_(shape.blocks),
        sequences_(shape.sequences()),
        items_(shape.items()) {}

  constexpr std::int64_t begin() const { return 0; }  // blocks + 1
  // Of each item: which tile of its sequence, ...
  constexpr std::int64_t tile() const { return blocks_ + 1; }
  // ... row * tokens, head, and number of queries (`tokens`) of the sequence,
  constexpr std::int64_t query_begin() const { return tile() + items_; }
  constexpr std::int64_t head() const { return query_begin() + items_; }
  constexpr std::int64_t queries() const { return head() + items_; }
  // ... and where its keys begin in staging and how many there are.
  constexpr std::int64_t key_begin() const { return queries() + items_; }
  constexpr std::int64_t keys() const { return key_begin() + items_; }
  // What the list is made from: sequences in the order in which they are taken,
  // and of the n-th tile taken which of its block's tiles it is (times
  // kMostAttentionBlocks) and the block.
  constexpr std::int64_t order() const { return keys() + items_; }
  constexpr std::int64_t dealt() const { return order() + sequences_; }
  constexpr std::int64_t size() const { return dealt() + items_; }

 private:
  std::int64_t blocks_;
  std::int64_t sequences_;
  std::int64_t items_;
};

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_ATTENTION_WORK_H_
