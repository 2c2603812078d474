// What a test needs around one image's cache: schedules with random rankings,
// and a pool, block lists and arena to run them with.

#ifndef TESTS_MODEL_CACHED_IMAGE_H_
#define TESTS_MODEL_CACHED_IMAGE_H_

#include <cstdint>
#include <memory>

#include "cache/block_lists.h"
#include "cache/block_pool.h"
#include "cache/schedule.h"
#include "cache/trajectory.h"

namespace heatkv::model {

// A HeatKV schedule at `budget` for a seeded random ranking.
std::shared_ptr<const cache::Schedule> RandomSchedule(
    const cache::ScaleLadder& ladder, int layers, int heads, double budget,
    std::uint32_t seed);

// Block lists in a pool that they fill exactly.
class CachedImage {
 public:
  CachedImage(std::shared_ptr<const cache::Schedule> schedule, int head_width,
              int branches);

  std::int64_t blocks() const { return pool_.capacity(); }
  cache::BlockLists& lists() { return *lists_; }

 private:
  std::shared_ptr<const cache::Trajectory> trajectory_;
  cache::BlockPool pool_;
  std::unique_ptr<cache::BlockLists> lists_;
};

}  // namespace heatkv::model

#endif  // TESTS_MODEL_CACHED_IMAGE_H_
