// The blocks of a launch that execute a SpanCopy.  For kernels alone.

#ifndef MODEL_KERNELS_SPAN_COPY_CUH_
#define MODEL_KERNELS_SPAN_COPY_CUH_

#include <cuda_runtime.h>

#include <algorithm>

#include "model/kernels/early_launch.cuh"
#include "model/kernels/span_copy.h"

namespace heatkv::kernels {

// Threads that copy a span together, kSpansAtOnce spans a block.  A thread has
// up to kUnits times 16 bytes of keys and of values in flight: a span of 16
// tokens and 128 values at once.
constexpr int kSpanThreads = 64;
constexpr int kUnits = 4;

// Blocks of `threads` threads that a launch gets for a copy: enough for all
// spans at once, but no more than it takes to keep the memory busy.
inline int CopyBlocks(const SpanCopy& work, int threads) {
  const int spans_at_once = threads / kSpanThreads;
  return std::min((work.most_spans + spans_at_once - 1) / spans_at_once, 512);
}

// The share of block `block` of `blocks`, behind the predecessor; the table is
// older than that.
template <bool kToArena>
__device__ void CopySpans(const SpanCopy& work, int block, int blocks) {
  const SpanList list = *work.list;
  const CopySpan* const spans =
      reinterpret_cast<const CopySpan*>(work.table + list.begin);
  const int row_units = work.head_width / 8;
  const int spans_at_once = static_cast<int>(blockDim.x) / kSpanThreads;
  const int thread = static_cast<int>(threadIdx.x) % kSpanThreads;
  int index =
      block * spans_at_once + static_cast<int>(threadIdx.x) / kSpanThreads;
  CopySpan next;
  if (index < list.spans) next = spans[index];
  WaitForPredecessor();
  while (index < list.spans) {
    const CopySpan span = next;
    index += blocks * spans_at_once;
    if (index < list.spans) next = spans[index];
    uint4* const arena_keys =
        static_cast<uint4*>(work.arena) +
        static_cast<std::int64_t>(span.key_slot) * row_units;
    uint4* const arena_values = arena_keys + work.block_tokens * row_units;
    const std::int64_t staged =
        static_cast<std::int64_t>(span.staging_row) * row_units;
    uint4* const keys = static_cast<uint4*>(work.keys) + staged;
    uint4* const values = static_cast<uint4*>(work.values) + staged;
    const int units = span.tokens * row_units;
    for (int first = thread; first < units; first += kUnits * kSpanThreads) {
      uint4 key[kUnits];
      uint4 value[kUnits];
#pragma unroll
      for (int i = 0; i < kUnits; ++i) {
        const int unit = first + i * kSpanThreads;
        if (unit >= units) continue;
        key[i] = (kToArena ? keys : arena_keys)[unit];
        value[i] = (kToArena ? values : arena_values)[unit];
      }
#pragma unroll
      for (int i = 0; i < kUnits; ++i) {
        const int unit = first + i * kSpanThreads;
        if (unit >= units) continue;
        (kToArena ? arena_keys : keys)[unit] = key[i];
        (kToArena ? arena_values : values)[unit] = value[i];
      }
    }
  }
}

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_SPAN_COPY_CUH_
