// The block lists of one image: which blocks hold which segment of which head
// of which branch, and how each scale changes them.
//
// A step has two halves, so that several images can be planned, then computed
// together, layer by layer:
//
//   StepPlan plan = lists.PlanStep(scale);    // bookkeeping; returns a value
//   model->Step({{image, &plan}, ...});       // somebody else executes it
//   lists.FinishStep();                       // the pool gets its blocks back
//
// Inside a step a layer may write into blocks that this same image gave up at
// that layer or before, which is safe because layers run in order.  Other
// images get them only after FinishStep: they may run in the same batch, and
// their first layers would write what this image's last layers still read.
//
// Owns the image's Reservation and every block taken through it; the destructor
// gives all back, at any time, whether or not a step was finished.  Not
// thread-safe: owned by the engine thread.

#ifndef CACHE_BLOCK_LISTS_H_
#define CACHE_BLOCK_LISTS_H_

#include <cstdint>
#include <memory>

#include "cache/block_pool.h"
#include "cache/geometry.h"
#include "cache/image_cache.h"
#include "cache/step_plan.h"
#include "cache/trajectory.h"

namespace heatkv::cache {

class BlockLists {
 public:
  // Starts empty, before scale 0.  The pool must outlive the lists.  The
  // trajectory is shared with the other images of its tier.
  BlockLists(BlockPool* pool, std::shared_ptr<const Trajectory> trajectory);

  // Does the bookkeeping of a whole scale in layer order.  For each layer:
  // every head's prefix is what the schedule has not removed; then the layer's
  // segments of F_scale leave, then the early drops due after this layer, and
  // the heads that keep the current scale store it.  In the last scale a layer
  // stores nothing and gives back all it has read.
  //
  // Reserves what the step needs, trajectory().blocks_peak(scale); CHECKs that
  // the pool has it, that scales come in order and that the previous step was
  // finished.
  [[nodiscard]] StepPlan PlanStep(int scale);

  // Ends the step last planned, once its plan has been executed: blocks that it
  // gave up return to the pool, and the reservation shrinks to what is held.
  void FinishStep();

  // The scale that PlanStep expects next; num_scales when all are planned.
  int next_scale() const { return next_scale_; }

  // Blocks that hold tokens: after the last layer of the scale last planned,
  // trajectory().blocks_after(scale).  Their sum over all heads is
  // blocks_held().
  std::int64_t blocks_held() const { return cache_.blocks_held(); }
  std::int64_t blocks_held(HeadIndex head) const {
    return cache_.blocks_held(head);
  }
  // Tokens of all heads and branches.
  std::int64_t tokens_held() const { return cache_.tokens_held(); }

  // Blocks that the pool counts as used by, and reserved for, this image.
  std::int64_t blocks_used() const { return cache_.reservation().held(); }
  std::int64_t blocks_reserved() const { return cache_.reservation().blocks(); }

  const Trajectory& trajectory() const { return *trajectory_; }

 private:
  std::shared_ptr<const Trajectory> trajectory_;
  ImageCache cache_;
  int next_scale_ = 0;
  bool step_is_open_ = false;
};

}  // namespace heatkv::cache

#endif  // CACHE_BLOCK_LISTS_H_
