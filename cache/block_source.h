// Where one image's blocks come from while a step is being planned: first the
// blocks that the image itself gave up in this step, then its reservation.
//
// Keeping them aside until the step is executed is what makes it safe to plan
// several images before any of them runs (see cache/block_lists.h).
//
// Not thread-safe: owned by the engine thread.

#ifndef CACHE_BLOCK_SOURCE_H_
#define CACHE_BLOCK_SOURCE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "cache/block_pool.h"

namespace heatkv::cache {

class BlockSource {
 public:
  explicit BlockSource(Reservation reservation)
      : reservation_(std::move(reservation)) {}

  // The block given up most recently in this step, else one of the pool's.
  std::int32_t Take() {
    if (aside_.empty()) return reservation_.Take();
    const std::int32_t block = aside_.back();
    aside_.pop_back();
    return block;
  }
  // Keeps `block` aside for this image.
  void Give(std::int32_t block) { aside_.push_back(block); }

  // Returns the blocks kept aside to the pool.
  void ReturnAside();

  // Blocks in use by tokens: taken and not given up.
  std::int64_t held() const {
    return reservation_.held() - static_cast<std::int64_t>(aside_.size());
  }
  const Reservation& reservation() const { return reservation_; }
  Reservation& reservation() { return reservation_; }

 private:
  Reservation reservation_;
  std::vector<std::int32_t> aside_;
};

}  // namespace heatkv::cache

#endif  // CACHE_BLOCK_SOURCE_H_
