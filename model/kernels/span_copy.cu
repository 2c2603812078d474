#include <cuda_runtime.h>

#include "model/kernels/span_copy.h"

namespace heatkv::kernels {
namespace {

constexpr int kWarps = 8;

// One warp for each span, 16 bytes a thread.
template <bool kToArena>
__global__ void __launch_bounds__(kWarps * 32) SpanCopyKernel(SpanCopy work) {
  const int index = blockIdx.x * kWarps + threadIdx.x / 32;
  if (index >= work.num_spans) return;
  const CopySpan span = work.spans[index];
  const int row_units = work.head_width / 8;
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

}  // namespace

void Launch(const SpanCopy& work, Stream stream) {
  if (work.num_spans == 0) return;
  const int blocks = (work.num_spans + kWarps - 1) / kWarps;
  if (work.to_arena) {
    SpanCopyKernel<true><<<blocks, kWarps * 32, 0, stream>>>(work);
  } else {
    SpanCopyKernel<false><<<blocks, kWarps * 32, 0, stream>>>(work);
  }
  CheckLaunch("copy of spans");
}

}  // namespace heatkv::kernels
