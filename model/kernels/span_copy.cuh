// The blocks of a launch that execute a SpanCopy.  For kernels alone.

#ifndef MODEL_KERNELS_SPAN_COPY_CUH_
#define MODEL_KERNELS_SPAN_COPY_CUH_

#include <cuda_runtime.h>

#include <algorithm>

#include "model/kernels/early_launch.cuh"
#include "model/kernels/span_copy.h"

namespace heatkv::kernels {

// Blocks that a launch gets for a copy: one a span, but no more than run at the
// same time.
inline int CopyBlocks(const SpanCopy& work) {
  return std::min(work.most_spans, 1024);
}

// The share of block `block` of `blocks`, behind the predecessor; the table is
// older than that.  A block takes span after span, 16 bytes a thread: spans are
// a few KiB, and what counts is that all of one is in flight at once.
template <bool kToArena>
__device__ void CopySpans(const SpanCopy& work, int block, int blocks) {
  const SpanList list = *work.list;
  const CopySpan* const spans =
      reinterpret_cast<const CopySpan*>(work.table + list.begin);
  const int row_units = work.head_width / 8;
  int index = block;
  CopySpan next;
  if (index < list.spans) next = spans[index];
  WaitForPredecessor();
  while (index < list.spans) {
    const CopySpan span = next;
    index += blocks;
    if (index < list.spans) next = spans[index];
    const int units = span.tokens * row_units;
    uint4* const arena_keys =
        static_cast<uint4*>(work.arena) +
        static_cast<std::int64_t>(span.key_slot) * row_units;
    uint4* const arena_values = arena_keys + work.block_tokens * row_units;
    const std::int64_t staged =
        static_cast<std::int64_t>(span.staging_row) * row_units;
    uint4* const keys = static_cast<uint4*>(work.keys) + staged;
    uint4* const values = static_cast<uint4*>(work.values) + staged;
    for (int unit = threadIdx.x; unit < units; unit += blockDim.x) {
      const uint4 key = kToArena ? keys[unit] : arena_keys[unit];
      const uint4 value = kToArena ? values[unit] : arena_values[unit];
      (kToArena ? arena_keys : keys)[unit] = key;
      (kToArena ? arena_values : values)[unit] = value;
    }
  }
}

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_SPAN_COPY_CUH_
