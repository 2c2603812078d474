// A copy between the arena of blocks and staging, as a list of spans says: kept
// prefixes before attention, surviving keys and values after it.
//
// It is no launch of its own: it rides along as further blocks of a kernel that
// has to run anyway and neither reads nor writes what the copy does
// (rotate_scatter.h, residual_norm.h).  A layer has too many launches already,
// and most lists are short or empty.
//
// The arena is [blocks, 2 (keys, values), block_tokens, head_width], staging
// two arrays [any, head_width], all bf16.

#ifndef MODEL_KERNELS_SPAN_COPY_H_
#define MODEL_KERNELS_SPAN_COPY_H_

#include <cstdint>

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
  // How many spans to expect, which decides how many blocks come for them; a
  // list may have more.  0: there is no list, and nothing is copied.
  int most_spans = 0;
  void* arena = nullptr;
  void* keys = nullptr;  // staging
  void* values = nullptr;
  int block_tokens = 0;
  int head_width = 0;  // a multiple of 8
};

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_SPAN_COPY_H_
