#include "cache/safe_state.h"

#include <algorithm>

#include "absl/container/inlined_vector.h"
#include "base/check.h"

namespace heatkv::cache {
namespace {

// More images than most devices run at once; beyond it vectors allocate.
constexpr int kUsualImages = 64;

// The way of an image to its next rest.
struct Climb {
  std::int64_t need;  // blocks that it takes on the way, beyond those it holds
  std::int64_t gain;  // blocks that it has given up once it is there
  ImageProgress rest;
};

Climb NextClimb(const ImageProgress& image) {
  const ImageProgress rest{
      .trajectory = image.trajectory,
      .next_scale = image.trajectory->rest_scale(image.next_scale)};
  const std::int64_t held = image.blocks_held();
  return {.need = image.trajectory->climb_peak(image.next_scale) - held,
          .gain = held - rest.blocks_held(),
          .rest = rest};
}

// An image that is done, or that needs no block to be.
bool NeedsNothing(const ImageProgress& image) {
  return image.peak_blocks() == 0;
}

std::int64_t BlocksHeld(std::span<const ImageProgress> images) {
  std::int64_t held = 0;
  for (const ImageProgress& image : images) held += image.blocks_held();
  return held;
}

// Blocks with which the images can go to their ends one by one, in whatever
// order: what all hold, and the most that any of them takes beyond that.
std::int64_t AnyOrderCapacity(std::span<const ImageProgress> images) {
  std::int64_t held = 0;
  std::int64_t most = 0;
  for (const ImageProgress& image : images) {
    const std::int64_t own = image.blocks_held();
    held += own;
    most = std::max(most, image.peak_blocks() - own);
  }
  return held + most;
}

// SafeCapacity(images) <= limit.  Whoever fits goes; unlike the least capacity,
// this needs no order among those who fit.
bool IsSafe(std::int64_t limit, std::span<const ImageProgress> images) {
  if (AnyOrderCapacity(images) <= limit) return true;
  std::int64_t free = limit - BlocksHeld(images);
  if (free < 0) return false;
  absl::InlinedVector<Climb, kUsualImages> waiting;
  for (const ImageProgress& image : images) {
    if (!NeedsNothing(image)) waiting.push_back(NextClimb(image));
  }
  while (!waiting.empty()) {
    const std::size_t before = waiting.size();
    bool moved = false;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < before; ++i) {
      Climb climb = waiting[i];
      bool arrived = false;
      while (!arrived && climb.need <= free) {
        moved = true;
        free += climb.gain;
        arrived = NeedsNothing(climb.rest);
        if (!arrived) climb = NextClimb(climb.rest);
      }
      if (!arrived) waiting[kept++] = climb;
    }
    waiting.resize(kept);
    if (!moved) return false;
  }
  return true;
}

}  // namespace

std::int64_t SafeCapacity(std::span<const ImageProgress> images) {
  // From the greatest need to the least.
  absl::InlinedVector<Climb, kUsualImages> waiting;
  for (const ImageProgress& image : images) {
    if (!NeedsNothing(image)) waiting.push_back(NextClimb(image));
  }
  const auto more_first = [](const Climb& a, const Climb& b) {
    return a.need > b.need;
  };
  std::sort(waiting.begin(), waiting.end(), more_first);

  std::int64_t held = BlocksHeld(images);
  std::int64_t capacity = held;
  const std::int64_t enough = AnyOrderCapacity(images);
  while (capacity < enough && !waiting.empty()) {
    const Climb climb = waiting.back();
    waiting.pop_back();
    capacity = std::max(capacity, held + climb.need);
    held -= climb.gain;
    if (NeedsNothing(climb.rest)) continue;
    const Climb next = NextClimb(climb.rest);
    waiting.insert(
        std::lower_bound(waiting.begin(), waiting.end(), next, more_first),
        next);
  }
  return capacity;
}

bool MayStep(std::int64_t limit, std::span<const ImageProgress> images,
             std::span<const int> group) {
  absl::InlinedVector<ImageProgress, kUsualImages> after(images.begin(),
                                                         images.end());
  std::int64_t during = BlocksHeld(images);
  for (const int i : group) {
    ImageProgress& image = after[i];
    HEATKV_CHECK_LT(image.next_scale,
                    image.trajectory->schedule()->ladder().num_scales());
    during +=
        image.trajectory->blocks_peak(image.next_scale) - image.blocks_held();
    ++image.next_scale;
  }
  return during <= limit && IsSafe(limit, after);
}

}  // namespace heatkv::cache
