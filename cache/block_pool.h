// The pool: which blocks of a device's cache arena are free, reserved and used.
//
// Bookkeeping only.  The pool owns block numbers 0 .. capacity - 1, no memory;
// a model backend owns the arena that the numbers index.  Blocks are all alike,
// so there is no external fragmentation.
//
// Nothing allocates without a Reservation: a promise of a number of blocks,
// which an image makes grow before each step to what the step will need and
// lets shrink after it to what it keeps.  Promises never add up to more than
// the capacity, so Take cannot fail; that growing does not fail either is what
// the scheduler plans for (cache/safe_state.h).
//
// Blocks are handed out deterministically: the one given back most recently
// first (it is the likeliest to be in a processor's cache), and from a fresh
// pool 0, 1, 2, ...
//
// Not thread-safe: one owner, the engine thread.

#ifndef CACHE_BLOCK_POOL_H_
#define CACHE_BLOCK_POOL_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/check.h"

namespace heatkv::cache {

class Reservation;

class BlockPool {
 public:
  // REQUIRES: 0 <= blocks < 2^31.
  explicit BlockPool(std::int64_t blocks);

  // CHECKs that nothing is reserved: the pool outlives its reservations.
  ~BlockPool();

  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // Promises `blocks` blocks, or nothing if fewer are unpromised; then the pool
  // is unchanged.  REQUIRES: blocks >= 0.
  [[nodiscard]] std::optional<Reservation> Reserve(std::int64_t blocks);

  std::int64_t capacity() const { return capacity_; }
  std::int64_t reserved() const { return reserved_; }  // used ones included
  std::int64_t used() const { return used_; }
  std::int64_t unreserved() const { return capacity_ - reserved_; }
  // The most blocks that were ever used at once.
  std::int64_t high_water() const { return high_water_; }

 private:
  friend class Reservation;

  std::int32_t Take();
  void GiveAll(std::span<const std::int32_t> blocks);

  std::int64_t capacity_;
  std::int64_t reserved_ = 0;
  std::int64_t used_ = 0;
  std::int64_t high_water_ = 0;
  std::vector<std::int32_t> free_;  // taken from the back
  std::vector<bool> is_used_;
};

// A promise of blocks; its destructor gives them back.  Move-only.  It refers
// to its pool, which must stay where it is and outlive it.
class Reservation {
 public:
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;

  // CHECKs that no block is held.
  ~Reservation();

  // Blocks promised, and blocks taken and not yet given back.
  std::int64_t blocks() const { return blocks_; }
  std::int64_t held() const { return held_; }

  // Takes one block.  CHECKs that fewer than blocks() are held.
  std::int32_t Take();

  // Gives back a block that was taken through this reservation.  CHECKs that it
  // is in use.
  void Give(std::int32_t block);
  // The same for each of `blocks` in turn.
  void GiveAll(std::span<const std::int32_t> blocks);

  // Raises the promise to `blocks`.  False, and nothing changed, if fewer are
  // unpromised.  CHECKs blocks >= blocks().
  [[nodiscard]] bool GrowTo(std::int64_t blocks);

  // Gives up the promise of all but `blocks`.  CHECKs held() <= blocks <=
  // blocks().
  void ShrinkTo(std::int64_t blocks);

 private:
  friend class BlockPool;
  Reservation(BlockPool* pool, std::int64_t blocks)
      : pool_(pool), blocks_(blocks) {}
  void Release();

  BlockPool* pool_;  // null once moved from
  std::int64_t blocks_;
  std::int64_t held_ = 0;
};

// A step takes tens of thousands of blocks: these are inlined.

inline std::int32_t BlockPool::Take() {
  HEATKV_CHECK(!free_.empty()) << "capacity " << capacity_;
  const std::int32_t block = free_.back();
  free_.pop_back();
  is_used_[block] = true;
  high_water_ = std::max(high_water_, ++used_);
  return block;
}

inline std::int32_t Reservation::Take() {
  HEATKV_CHECK_LT(held_, blocks_);
  ++held_;
  return pool_->Take();
}

}  // namespace heatkv::cache

#endif  // CACHE_BLOCK_POOL_H_
