#include "cache/block_pool.h"

#include <limits>
#include <numeric>
#include <utility>

#include "base/check.h"

namespace heatkv::cache {

BlockPool::BlockPool(std::int64_t blocks) : capacity_(blocks) {
  HEATKV_CHECK(blocks >= 0 &&
               blocks <= std::numeric_limits<std::int32_t>::max())
      << blocks;
  free_.resize(blocks);
  std::iota(free_.rbegin(), free_.rend(), 0);
  is_used_.resize(blocks, false);
}

BlockPool::~BlockPool() { HEATKV_CHECK_EQ(reserved_, 0); }

std::optional<Reservation> BlockPool::Reserve(std::int64_t blocks) {
  HEATKV_CHECK_GE(blocks, 0);
  if (blocks > unreserved()) return std::nullopt;
  reserved_ += blocks;
  return Reservation(this, blocks);
}

void BlockPool::GiveAll(std::span<const std::int32_t> blocks) {
  for (const std::int32_t block : blocks) {
    HEATKV_CHECK(block >= 0 && block < capacity_) << block;
    HEATKV_CHECK(is_used_[block]) << "block " << block << " is free already";
    is_used_[block] = false;
  }
  used_ -= static_cast<std::int64_t>(blocks.size());
  free_.insert(free_.end(), blocks.begin(), blocks.end());
}

Reservation::Reservation(Reservation&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)),
      blocks_(std::exchange(other.blocks_, 0)),
      held_(std::exchange(other.held_, 0)) {}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  if (this != &other) {
    Release();
    pool_ = std::exchange(other.pool_, nullptr);
    blocks_ = std::exchange(other.blocks_, 0);
    held_ = std::exchange(other.held_, 0);
  }
  return *this;
}

Reservation::~Reservation() { Release(); }

void Reservation::Release() {
  if (pool_ == nullptr) return;
  HEATKV_CHECK_EQ(held_, 0);
  pool_->reserved_ -= blocks_;
  pool_ = nullptr;
}

void Reservation::Give(std::int32_t block) {
  HEATKV_CHECK_GT(held_, 0);
  --held_;
  pool_->GiveAll({&block, 1});
}

void Reservation::GiveAll(std::span<const std::int32_t> blocks) {
  HEATKV_CHECK_LE(blocks.size(), held_);
  held_ -= static_cast<std::int64_t>(blocks.size());
  pool_->GiveAll(blocks);
}

bool Reservation::GrowTo(std::int64_t blocks) {
  HEATKV_CHECK_GE(blocks, blocks_);
  if (blocks - blocks_ > pool_->unreserved()) return false;
  pool_->reserved_ += blocks - blocks_;
  blocks_ = blocks;
  return true;
}

void Reservation::ShrinkTo(std::int64_t blocks) {
  HEATKV_CHECK(held_ <= blocks && blocks <= blocks_)
      << held_ << " held, " << blocks << " wanted, " << blocks_ << " promised";
  pool_->reserved_ -= blocks_ - blocks;
  blocks_ = blocks;
}

}  // namespace heatkv::cache
