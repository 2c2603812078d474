// What is in flight on one device, as trajectories: which images, how many
// blocks they hold and may come to hold, and who may go on with whom without
// anybody running out of blocks.
//
// Bookkeeping of the scheduler (server/engine/scheduler.h): no queue, no order
// of who goes first, no block.  Not thread-safe: owned by the scheduler.

#ifndef SERVER_ENGINE_DEVICE_FLIGHT_H_
#define SERVER_ENGINE_DEVICE_FLIGHT_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/time/time.h"
#include "cache/safe_state.h"
#include "cache/trajectory.h"
#include "server/engine/scheduled_request.h"

namespace heatkv::server {

class DeviceFlight {
 public:
  struct Image {
    ImageRef ref;
    const ScheduledRequest* asked = nullptr;
    absl::Time started;
    std::int64_t tokens_left = 0;
    bool in_turn = false;
  };

  // Images are named by their indices, in the order of their starts; leaving
  // moves those behind it up.
  int size() const { return static_cast<int>(images_.size()); }
  bool empty() const { return images_.empty(); }
  const Image& image(int index) const { return images_[index]; }
  const cache::ImageProgress& progress(int index) const {
    return progress_[index];
  }
  std::span<const cache::ImageProgress> progress() const { return progress_; }
  StepKind KindOf(int index) const {
    return {images_[index].asked->ladder, progress_[index].next_scale,
            progress_[index].trajectory->branches()};
  }
  // -1 if it is not here.
  int Find(const ImageRef& ref) const;
  // Whether two images may do the same, because all that matters to the pool is
  // the same; `one` may be -1, no image.
  bool AreAlike(int one, int other) const;

  // Puts an image in flight, at scale 0 and at the last index.  `asked` and
  // `trajectory` must stay where they are.
  void Start(const ScheduledRequest* asked, int image,
             const cache::Trajectory* trajectory, absl::Time now);
  // Takes back the last start.
  void TakeBackStart();
  void Drop(int index);

  void BeginTurn(std::span<const int> group);
  // The image has done its scale of the turn.  Whether it was its last; then it
  // is no longer in flight.
  bool StepDone(int index);
  // Images of the turn that were not reported yet.
  int in_turn() const { return in_turn_; }

  // Blocks, between steps.
  std::int64_t held() const { return held_; }
  // That the images may each still come to hold, added up.
  std::int64_t peak_sum() const { return peak_sum_; }

  // The limit may have become too small for what is in flight.
  void LimitMayHaveFallen() { is_lowered_ = true; }
  // `limit`, or more while images in flight need more to finish.
  std::int64_t EffectiveLimit(std::int64_t limit) const;
  // The same, and remembers whether it is more.
  std::int64_t SettleLimit(std::int64_t limit);
  // Whether images in flight may need more than the limit: then none starts.
  bool is_lowered() const { return is_lowered_; }

  // Whether the images at `group` may step together under `limit`.
  bool MayStep(std::int64_t limit, std::span<const int> group) const;
  // Whether an image of `trajectory` could start once the turn is over.
  bool CouldTakeAfterTurn(std::int64_t limit,
                          const cache::Trajectory& trajectory) const;

 private:
  std::vector<Image> images_;
  std::vector<cache::ImageProgress> progress_;  // at the same indices
  std::int64_t held_ = 0;
  std::int64_t peak_sum_ = 0;
  int in_turn_ = 0;
  bool is_lowered_ = false;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_DEVICE_FLIGHT_H_
