// Weights that a product soon reads, fetched into the L2 cache before it: while
// attention and norms of few rows run, the memory would lie idle, and products
// of few rows spend their time on waiting for it.
//
// Rides along as further blocks of a kernel, like a copy of spans
// (span_copy.h).  Changes no result.  Devices before compute capability 9.0
// leave it out.

#ifndef MODEL_KERNELS_CACHE_AHEAD_H_
#define MODEL_KERNELS_CACHE_AHEAD_H_

#include <cstdint>

namespace heatkv::kernels {

struct CacheAhead {
  const void* begin = nullptr;  // at a multiple of 16 bytes
  std::int64_t bytes = 0;       // a multiple of 16; 0: nothing
};

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_CACHE_AHEAD_H_
