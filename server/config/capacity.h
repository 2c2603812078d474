// What a configuration means in an operator's words: how many images of each
// size and tier the pool holds at once.  Pure functions of plain values.
//
// Thread safety: stateless.

#ifndef SERVER_CONFIG_CAPACITY_H_
#define SERVER_CONFIG_CAPACITY_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cache/geometry.h"
#include "model/api/model_spec.h"
#include "server/config/server_config.h"
#include "server/engine/schedule_book.h"

namespace heatkv::server {

// The geometry that a model of `spec` has with this cache dtype, before it is
// loaded.
cache::CacheGeometry GeometryOf(const model::ModelSpec& spec, CacheDtype dtype);

// Whole blocks in the pool.  Fails with InvalidArgument, naming both numbers,
// if there is not even one.
absl::StatusOr<std::int64_t> PoolBlocks(const PoolSize& pool,
                                        std::int64_t device_bytes,
                                        const cache::CacheGeometry& geometry);

// Blocks of a pool that is as large as suits a GPU: what `images` images hold
// at their peaks, of the size that needs most, on tier `tier` under guidance;
// at most nine tenths of `left_bytes`, which everything else leaves of the
// memory; at least `least`.  REQUIRES: the book has the tier.
std::int64_t AutomaticPoolBlocks(const model::ModelSpec& spec,
                                 const ScheduleBook& book,
                                 absl::string_view tier, int images,
                                 std::int64_t left_bytes, std::int64_t least);

// One line for each size and tier:
//   pool 256.0 MiB holds 182 standard images at 128x128 (1.4 MiB each, ...)
std::string DescribeCapacity(const model::ModelSpec& spec,
                             const ScheduleBook& book,
                             std::int64_t pool_blocks);

// Nothing, or why nobody who asks for nothing in particular gets an image: the
// pool is smaller than one of the first size, on tier `tier` under guidance,
// with both numbers.  REQUIRES: the book has the tier.
std::string DescribeShortage(const model::ModelSpec& spec,
                             const ScheduleBook& book, absl::string_view tier,
                             std::int64_t pool_blocks);

}  // namespace heatkv::server

#endif  // SERVER_CONFIG_CAPACITY_H_
