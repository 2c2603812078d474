// The segments that one image holds, and how one layer of one scale changes
// them under a schedule.
//
// The one place where a schedule is obeyed: block lists of running images
// (cache/block_lists.h) and the rehearsal of a trajectory (cache/trajectory.h)
// both go through it, so they cannot disagree.
//
// Not thread-safe: owned by the engine thread.

#ifndef CACHE_IMAGE_CACHE_H_
#define CACHE_IMAGE_CACHE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "cache/block_source.h"
#include "cache/head_blocks.h"
#include "cache/schedule.h"
#include "cache/step_plan.h"

namespace heatkv::cache {

class ImageCache {
 public:
  ImageCache(Reservation reservation, std::shared_ptr<const Schedule> schedule,
             int branches);

  // Gives back every block.
  ~ImageCache();

  ImageCache(const ImageCache&) = delete;
  ImageCache& operator=(const ImageCache&) = delete;

  // Appends the rows' prefixes of `layer` to `plan`, as its attention in the
  // scale being planned finds them.
  void AppendPrefixes(int layer, StepPlan* plan) const;

  // What happens once layer `layer` of `scale` has read its prefixes: the
  // layer's segments of F_scale leave; then the early drops due after this
  // layer; then the heads that keep the current scale store it, and the slots
  // that they got are appended to `plan` unless it is null.  In the last scale
  // all segments of the layer leave.  Call in layer order.
  void CompleteLayer(int scale, int layer, StepPlan* plan);

  // No fewer spans than all rows store in `scale`.
  std::int64_t MostStored(int scale) const;

  // Makes the reservation grow to `blocks`, unless it is that large; false if
  // the pool has fewer.
  [[nodiscard]] bool ReserveStep(std::int64_t blocks);

  // Returns blocks given up in this step to the pool and shrinks the
  // reservation to `blocks`.
  void FinishStep(std::int64_t blocks);

  std::int64_t blocks_held() const { return source_.held(); }
  std::int64_t blocks_held(HeadIndex head) const {
    return at(head.layer, head.head).blocks();
  }
  std::int64_t tokens_held() const { return tokens_; }
  const Reservation& reservation() const { return source_.reservation(); }

 private:
  HeadBlocks& at(int layer, int head) {
    return heads_[layer * schedule_->heads() + head];
  }
  const HeadBlocks& at(int layer, int head) const {
    return heads_[layer * schedule_->heads() + head];
  }
  bool IsStored(int scale, HeadIndex head) const;
  void DropAllBranches(int source_scale, HeadIndex head);

  BlockSource source_;
  std::shared_ptr<const Schedule> schedule_;  // shared with the trajectory
  int branches_;
  std::vector<HeadBlocks> heads_;  // [layer][head]
  std::int64_t tokens_ = 0;
};

}  // namespace heatkv::cache

#endif  // CACHE_IMAGE_CACHE_H_
