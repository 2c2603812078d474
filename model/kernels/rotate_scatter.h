// From the product of queries, keys and values to what attention reads:
// queries and keys of each head are normalised to length 1, queries multiplied
// by their head's scale, both turned by the rotary embedding, and keys and
// values written behind the kept prefix of their head in staging.  The prefixes
// come there at the same time, out of the arena.
//
// Staging stays finite: where a token's key or value is not, zeros are staged
// and the token's query becomes NaN, so that its image fails and, whatever
// attention loads of it, no other.
//
// Scales, rotations, `current` and the list of prefixes must be there before
// the kernel in front of this one starts.

#ifndef MODEL_KERNELS_ROTATE_SCATTER_H_
#define MODEL_KERNELS_ROTATE_SCATTER_H_

#include <cstdint>

#include "model/kernels/launch.h"
#include "model/kernels/span_copy.h"

namespace heatkv::kernels {

struct RotateScatter {
  const void* product = nullptr;  // bf16 [rows, tokens, 3, heads, head_width]
  const float* query_scale = nullptr;  // [heads]
  // cos and sin [tokens, head_width / 2, 2] by which neighbouring values turn.
  const float* rotations = nullptr;
  // First staging row of the current scale, [rows, heads].
  const std::int32_t* current = nullptr;
  // bf16 [rows, heads, tokens, head_width]; queries_by_token: [rows, tokens,
  // heads, head_width].
  void* queries = nullptr;
  bool queries_by_token = false;
  void* keys = nullptr;    // bf16 staging [any, head_width]
  void* values = nullptr;  // the same
  int rows = 0;
  int tokens = 0;
  int heads = 0;
  int head_width = 0;  // a multiple of 8, at most 256
  SpanCopy prefixes;   // arena to staging, other rows than the current scale's
};

void Launch(const RotateScatter& work, Stream stream);

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_ROTATE_SCATTER_H_
