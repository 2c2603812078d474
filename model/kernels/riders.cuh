// What rides along with a kernel as further blocks behind its own: first those
// that copy spans, then those that fetch ahead.  For kernels alone.

#ifndef MODEL_KERNELS_RIDERS_CUH_
#define MODEL_KERNELS_RIDERS_CUH_

#include <cuda_runtime.h>

#include "model/kernels/cache_ahead.cuh"
#include "model/kernels/early_launch.cuh"
#include "model/kernels/span_copy.cuh"

namespace heatkv::kernels {

inline int RiderBlocks(const SpanCopy& copy, const CacheAhead (&ahead)[2],
                       int threads) {
  return CopyBlocks(copy, threads) + AheadBlocks(ahead);
}

// Of block `rider` behind the kernel's own; there are `riders`.
template <bool kToArena>
__device__ void Ride(const SpanCopy& copy, const CacheAhead (&ahead)[2],
                     int rider, int riders) {
  const int copy_blocks = riders - AheadBlocks(ahead);
  if (rider < copy_blocks) {
    CopySpans<kToArena>(copy, rider, copy_blocks);
  } else {
    FetchAhead(ahead, rider - copy_blocks);
    WaitForPredecessor();
  }
}

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_RIDERS_CUH_
