// Safe states: can all images in flight finish in a pool of this size?
//
// An image holds known numbers of blocks at known points (its trajectory), so
// whether an order of steps exists in which every image reaches its end is a
// question with an exact answer, and so is the smallest pool for which one
// does: SafeCapacity.  While the limit of the pool is no smaller, nothing ever
// deadlocks, although the sum of all peaks may exceed it.
//
// The answer is found greedily.  Each image names the next point at which it
// holds no more than now (Trajectory::rest_scale) and how many blocks more than
// now it needs on the way.  Whoever needs least goes to that point; this never
// harms the others, who then have at least as many free blocks as before.  In
// any order that works some image is the first to reach such a point, and at
// that moment the others hold no less than they do now, so the one who needs
// least could have gone first: the greedy order is as good as any.
//
// Pure functions of values.  Thread safety: stateless.

#ifndef CACHE_SAFE_STATE_H_
#define CACHE_SAFE_STATE_H_

#include <cstdint>
#include <span>

#include "cache/trajectory.h"

namespace heatkv::cache {

// An image between two steps.
struct ImageProgress {
  const Trajectory* trajectory = nullptr;
  int next_scale = 0;  // num_scales when it is done

  std::int64_t blocks_held() const {
    return trajectory->blocks_before(next_scale);
  }
  // From now to its end.
  std::int64_t peak_blocks() const {
    return trajectory->peak_blocks_from(next_scale);
  }
};

// The least number of blocks with which every image can finish; never less
// than what they hold together, never more than the sum of their peaks.
std::int64_t SafeCapacity(std::span<const ImageProgress> images);

// Whether the images at the indices `group` may do their next scales in one
// step: the blocks that all images then hold at most fit `limit`, and the state
// after the step is safe.  The indices are distinct, and none of these images
// is done.
bool MayStep(std::int64_t limit, std::span<const ImageProgress> images,
             std::span<const int> group);

}  // namespace heatkv::cache

#endif  // CACHE_SAFE_STATE_H_
