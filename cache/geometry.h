// Fixed quantities of one model's key-value cache: how many layers and heads it
// has and how large one block is.  Plain values; safe to copy anywhere.

#ifndef CACHE_GEOMETRY_H_
#define CACHE_GEOMETRY_H_

#include <cstdint>

namespace heatkv::cache {

// Tokens in one block: the pool's only unit (design: Words).
inline constexpr int kBlockTokens = 16;

// One attention head of one layer.
struct HeadIndex {
  int layer = 0;
  int head = 0;

  friend bool operator==(const HeadIndex&, const HeadIndex&) = default;
};

struct CacheGeometry {
  int layers = 0;
  int heads = 0;            // a layer
  int head_width = 0;       // values of one key or value vector
  int bytes_per_value = 0;  // of the cache dtype: 2 for bfloat16, 4 for float32

  int heads_in_model() const { return layers * heads; }

  // Bytes of one block: kBlockTokens keys and as many values.
  std::int64_t block_bytes() const {
    return std::int64_t{2} * kBlockTokens * head_width * bytes_per_value;
  }

  // Bytes of the keys and values of `tokens` tokens in every head of every
  // layer, for one branch.
  std::int64_t token_bytes(std::int64_t tokens) const {
    return tokens * 2 * layers * heads * head_width * bytes_per_value;
  }

  friend bool operator==(const CacheGeometry&, const CacheGeometry&) = default;
};

}  // namespace heatkv::cache

#endif  // CACHE_GEOMETRY_H_
