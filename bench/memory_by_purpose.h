// What images take of a GPU's memory beyond the weights, and which purpose has
// how much of it all, from what torch's allocator and the driver said.
//
// Counts all of the arena in which steps and decodings work, since what
// recordings need of it counts as allocated only while they are made.  Plain
// values and pure functions.  Thread safety: stateless.

#ifndef BENCH_MEMORY_BY_PURPOSE_H_
#define BENCH_MEMORY_BY_PURPOSE_H_

#include <cstdint>

#include "model/cuda/memory_report.h"
#include "nlohmann/json.hpp"

namespace heatkv::server {

// Bytes.
struct MeasuredMemory {
  model::MemoryReport loaded;  // the weights
  model::MemoryReport ready;   // and all that is there before an image is
  model::MemoryReport now;     // with the peaks of the measured images
  // The most that was allocated between two steps, with what lives on in the
  // arena.
  std::int64_t between_steps = 0;
  std::int64_t pool = 0;         // of the cache, as it was allocated
  std::int64_t images = 0;       // of the pool, what the measured images hold
  std::int64_t device_used = 0;  // now, by everybody
};

// The arena, and what was allocated beside it at most beyond the weights and
// the whole pool.
std::int64_t BeyondWeightsAndPool(const MeasuredMemory& memory);

// In gigabytes (1e9 bytes):
//   memory_beyond_weights_gb     the images' part of the pool and the next
//   beyond_weights_and_pool_gb   BeyondWeightsAndPool
//   reserved_gb                  at the peak
//   reserved_beyond_weights_gb   of that, without weights and other images'
//                                part of the pool: with room for longer texts,
//                                and gaps
//   reserved_growth_gb           of that, since it was ready
//   memory_gb  {
//     weights
//     pool             the images' part of pool_allocated
//     pool_allocated
//     work_arena       what steps and decoding work in
//     kept_when_ready  texts, tables, places of recorded steps outside of it
//     allocator        the rest of what was reserved at the peak: what came and
//                      went outside of the arena, and gaps
//     libraries        what torch did not reserve: context, code, graphs
//     device_used      the sum of these without `pool`; if the allocator gave
//                      nothing back since the peak, what the driver says
//   }
nlohmann::json ReportMemory(const MeasuredMemory& memory);

}  // namespace heatkv::server

#endif  // BENCH_MEMORY_BY_PURPOSE_H_
