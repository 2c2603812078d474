// The blocks of a launch that execute CacheAheads.  For kernels alone.

#ifndef MODEL_KERNELS_CACHE_AHEAD_CUH_
#define MODEL_KERNELS_CACHE_AHEAD_CUH_

#include <cuda_runtime.h>

#include "model/kernels/cache_ahead.h"

namespace heatkv::kernels {

// Blocks that a launch gets for what it is to fetch: enough to ask for all of
// it in about a microsecond.
__host__ __device__ inline int AheadBlocks(const CacheAhead (&ahead)[2]) {
  return ahead[0].bytes + ahead[1].bytes == 0 ? 0 : 64;
}

// The share of block `block`.  Asks for the bytes and does not wait for them.
__device__ inline void FetchAhead(const CacheAhead (&ahead)[2], int block) {
#if __CUDA_ARCH__ >= 900
  constexpr std::int64_t kPiece = 16384;
  if (threadIdx.x % 32 != 0) return;
  const std::int64_t warps = blockDim.x / 32;
  const std::int64_t first = (block * warps + threadIdx.x / 32) * kPiece;
  const std::int64_t step = AheadBlocks(ahead) * warps * kPiece;
#pragma unroll
  for (const CacheAhead& one : ahead) {
    for (std::int64_t at = first; at < one.bytes; at += step) {
      const auto bytes =
          static_cast<std::uint32_t>(min(kPiece, one.bytes - at));
      asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(
                       static_cast<const char*>(one.begin) + at),
                   "r"(bytes)
                   : "memory");
    }
  }
#endif
}

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_CACHE_AHEAD_CUH_
