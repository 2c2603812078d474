// Attention of image tokens to the text of their row (specification section 3,
// Cross-attention), which is read where it lies: the texts of a group are not
// brought together first.
//
// Where each row's text lies is read from memory, so a recorded launch serves
// all texts.  Texts must be there before the kernel in front of this one
// starts.
//
// A row's result depends on its queries and text alone.  Nothing behind the end
// of a text is read.

#ifndef MODEL_KERNELS_CROSS_ATTENTION_H_
#define MODEL_KERNELS_CROSS_ATTENTION_H_

#include <cstdint>

#include "model/kernels/launch.h"

namespace heatkv::kernels {

// Keys and values of all layers, bf16 [layers, 2 (keys, values), room, heads,
// head width], of which each first `tokens` of the `room` tokens are the
// text's.  Without tokens nothing is read, and the result is 0.
struct alignas(16) RowText {
  const void* keys_values = nullptr;
  std::int32_t tokens = 0;
  std::int32_t room = 0;
};
static_assert(sizeof(RowText) == 16);

struct CrossAttention {
  const void* queries = nullptr;   // bf16 [rows * tokens, heads, head_width]
  void* out = nullptr;             // the same
  const RowText* texts = nullptr;  // [rows]
  int layer = 0;
  int rows = 0;
  int tokens = 0;
  int heads = 0;
  int head_width = 0;  // a multiple of 8 up to 256
  float scale = 1;     // of the products of queries and keys, > 0
};

void Launch(const CrossAttention& work, Stream stream);

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_CROSS_ATTENTION_H_
