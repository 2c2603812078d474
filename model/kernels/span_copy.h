// Copies between the arena of blocks and staging, as lists of spans say: kept
// prefixes before attention, surviving keys and values after it.
//
// The arena is [blocks, 2 (keys, values), block_tokens, head_width], staging
// two arrays [any, head_width], all bf16.

#ifndef MODEL_KERNELS_SPAN_COPY_H_
#define MODEL_KERNELS_SPAN_COPY_H_

#include <cstdint>

#include "model/kernels/launch.h"

namespace heatkv::kernels {

// Neighbouring tokens of one block and of one head's staging.  Key slot s of
// the arena is its row s as [blocks * 2 * block_tokens, head_width]; the value
// lies block_tokens rows behind.
struct CopySpan {
  std::int32_t key_slot = 0;
  std::int32_t staging_row = 0;
  std::int32_t tokens = 0;
};

// Where a list of spans lies in a table of int32: at `begin`, `spans` of them,
// three values each.
struct SpanList {
  std::int32_t begin = 0;
  std::int32_t spans = 0;
};

struct SpanCopy {
  const std::int32_t* table = nullptr;
  // Read by the kernel, so that a recorded launch serves every list.
  const SpanList* list = nullptr;
  void* arena = nullptr;
  void* keys = nullptr;  // staging
  void* values = nullptr;
  int block_tokens = 0;
  int head_width = 0;  // a multiple of 8
  bool to_arena = false;
};

void Launch(const SpanCopy& work, Stream stream);

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_SPAN_COPY_H_
