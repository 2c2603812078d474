// The trajectory: how many tokens and blocks the cache of one image holds after
// every layer of every scale, known before the image starts.
//
// It is the record of a rehearsal: the schedule is run once against a pool of
// its own, with the packing of cache/head_blocks.h.  An image that runs later
// holds exactly these numbers, whatever else is being served, so a difference
// (the plan error) is a bug.
//
// An immutable value, safe to read from any thread.  Queries are O(1).

#ifndef CACHE_TRAJECTORY_H_
#define CACHE_TRAJECTORY_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "cache/geometry.h"
#include "cache/schedule.h"

namespace heatkv::cache {

class Trajectory {
 public:
  // `branches` is 2 under guidance, else 1.  The schedule is shared with the
  // images that follow it.  CHECKs that schedule and geometry agree on layers
  // and heads, and that branches is 1 or 2.
  Trajectory(std::shared_ptr<const Schedule> schedule,
             const CacheGeometry& geometry, int branches);

  const std::shared_ptr<const Schedule>& schedule() const { return schedule_; }
  const CacheGeometry& geometry() const { return geometry_; }
  int branches() const { return branches_; }

  // Blocks held after layer `layer` of scale `scale`: its attention has read
  // them, what leaves has left, the current scale is stored.
  std::int64_t blocks(int scale, int layer) const {
    return blocks_[Index(scale, layer)];
  }
  // Blocks held between scales: before the first layer and after the last one
  // of `scale`.  0 before scale 0, and 0 after the last scale, whose layers
  // each give back what they have read.
  std::int64_t blocks_before(int scale) const {
    return scale == 0 ? 0 : blocks_after(scale - 1);
  }
  std::int64_t blocks_after(int scale) const {
    return blocks(scale, geometry_.layers - 1);
  }
  // The most blocks held at any moment of `scale`, its beginning included.
  // Until the step has been executed, this is also what the pool counts as
  // used (BlockLists::FinishStep).
  std::int64_t blocks_peak(int scale) const { return scale_peak_[scale]; }

  // The most blocks held at any moment; what an image must reserve.
  std::int64_t peak_blocks() const { return peak_from_[0]; }
  // The most blocks held from the beginning of `scale` on; 0 for num_scales.
  std::int64_t peak_blocks_from(int scale) const { return peak_from_[scale]; }

  // An image that stands before `scale` can go on by itself until it stands
  // before rest_scale(scale) and then holds no more than it does now: the first
  // such scale, num_scales at the latest (where it holds nothing).  climb_peak
  // is the most it holds on the way.  REQUIRES: scale < num_scales.
  int rest_scale(int scale) const { return rest_scale_[scale]; }
  std::int64_t climb_peak(int scale) const { return climb_peak_[scale]; }

  // Logical tokens of all layers, heads and branches: what the budget counts.
  std::int64_t tokens(int scale, int layer) const {
    return tokens_[Index(scale, layer)];
  }
  std::int64_t peak_tokens() const { return peak_tokens_; }

  std::int64_t bytes(std::int64_t blocks) const {
    return blocks * geometry_.block_bytes();
  }
  std::int64_t peak_bytes() const { return bytes(peak_blocks()); }
  // Bytes of the full cache of this image: what a budget is a fraction of.
  std::int64_t full_cache_bytes() const {
    return branches_ * geometry_.token_bytes(schedule_->ladder().full_tokens());
  }

 private:
  std::size_t Index(int scale, int layer) const {
    return static_cast<std::size_t>(scale) * geometry_.layers + layer;
  }

  std::shared_ptr<const Schedule> schedule_;
  CacheGeometry geometry_;
  int branches_;
  std::vector<std::int64_t> blocks_;      // [scale][layer]
  std::vector<std::int64_t> tokens_;      // [scale][layer]
  std::vector<std::int64_t> scale_peak_;  // [scale]
  std::vector<std::int64_t> peak_from_;   // [scale], one more at the end
  std::vector<int> rest_scale_;           // [scale]
  std::vector<std::int64_t> climb_peak_;  // [scale]
  std::int64_t peak_tokens_ = 0;
};

}  // namespace heatkv::cache

#endif  // CACHE_TRAJECTORY_H_
