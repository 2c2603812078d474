#include <cuda_runtime.h>

#include "model/kernels/span_copy.h"

namespace heatkv::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kBlocks = 1024;

// A block takes span after span, 16 bytes a thread: spans are a few KiB, and
// what counts is that all of one is in flight at once.
template <bool kToArena>
__global__ void __launch_bounds__(kThreads) SpanCopyKernel(SpanCopy work) {
  const SpanList list = *work.list;
  const CopySpan* const spans =
      reinterpret_cast<const CopySpan*>(work.table + list.begin);
  const int row_units = work.head_width / 8;
  for (int index = blockIdx.x; index < list.spans; index += gridDim.x) {
    const CopySpan span = spans[index];
    const int units = span.tokens * row_units;
    uint4* const arena_keys =
        static_cast<uint4*>(work.arena) +
        static_cast<std::int64_t>(span.key_slot) * row_units;
    uint4* const arena_values = arena_keys + work.block_tokens * row_units;
    const std::int64_t staged =
        static_cast<std::int64_t>(span.staging_row) * row_units;
    uint4* const keys = static_cast<uint4*>(work.keys) + staged;
    uint4* const values = static_cast<uint4*>(work.values) + staged;
#pragma unroll 2
    for (int unit = threadIdx.x; unit < units; unit += kThreads) {
      const uint4 key = kToArena ? keys[unit] : arena_keys[unit];
      const uint4 value = kToArena ? values[unit] : arena_values[unit];
      (kToArena ? arena_keys : keys)[unit] = key;
      (kToArena ? arena_values : values)[unit] = value;
    }
  }
}

}  // namespace

void Launch(const SpanCopy& work, Stream stream) {
  if (work.to_arena) {
    SpanCopyKernel<true><<<kBlocks, kThreads, 0, stream>>>(work);
  } else {
    SpanCopyKernel<false><<<kBlocks, kThreads, 0, stream>>>(work);
  }
  CheckLaunch("copy of spans");
}

}  // namespace heatkv::kernels
