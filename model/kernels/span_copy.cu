#include <cuda_runtime.h>

#include "model/kernels/span_copy.h"

namespace heatkv::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kBlocks = 512;

// A warp takes span after span, 16 bytes a thread.
template <bool kToArena>
__global__ void __launch_bounds__(kWarps * 32) SpanCopyKernel(SpanCopy work) {
  const SpanList list = *work.list;
  const CopySpan* const spans =
      reinterpret_cast<const CopySpan*>(work.table + list.begin);
  const int row_units = work.head_width / 8;
  for (int index = blockIdx.x * kWarps + threadIdx.x / 32; index < list.spans;
       index += gridDim.x * kWarps) {
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
    for (int unit = threadIdx.x % 32; unit < units; unit += 32) {
      if (kToArena) {
        arena_keys[unit] = keys[unit];
        arena_values[unit] = values[unit];
      } else {
        keys[unit] = arena_keys[unit];
        values[unit] = arena_values[unit];
      }
    }
  }
}

}  // namespace

void Launch(const SpanCopy& work, Stream stream) {
  if (work.to_arena) {
    SpanCopyKernel<true><<<kBlocks, kWarps * 32, 0, stream>>>(work);
  } else {
    SpanCopyKernel<false><<<kBlocks, kWarps * 32, 0, stream>>>(work);
  }
  CheckLaunch("copy of spans");
}

}  // namespace heatkv::kernels
