// Self-attention over keys and values in staging, for scales with few keys: for
// them a kernel that starts while the one in front of it ends and has nothing
// to be told first is faster than those that long sequences want.
//
// A sequence's result depends on its own queries, keys and values alone, and
// nothing that belongs to no sequence is read.
//
// See launch.h for the conventions.

#ifndef MODEL_KERNELS_SHORT_ATTENTION_H_
#define MODEL_KERNELS_SHORT_ATTENTION_H_

#include <cstdint>

#include "model/kernels/launch.h"

namespace heatkv::kernels {

struct ShortAttention {
  const void* queries = nullptr;  // bf16 [rows * tokens, heads, head_width]
  void* out = nullptr;            // the same
  const void* keys = nullptr;     // bf16 staging [any, head_width]
  const void* values = nullptr;   // the same
  // Where the keys of each (row, head) begin in staging, [rows * heads + 1].
  // Must be there before the kernel in front of this one starts.
  const std::int32_t* key_begin = nullptr;
  int rows = 0;
  int tokens = 0;
  int heads = 0;
  int head_width = 0;  // a multiple of 8 up to 256
  float scale = 1;     // of the products of queries and keys, > 0
};

void Launch(const ShortAttention& work, Stream stream);

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_SHORT_ATTENTION_H_
