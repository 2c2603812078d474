#include "cache/trajectory.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"
#include "cache/image_cache.h"

namespace heatkv::cache {
namespace {

// No fewer blocks than any schedule of the ladder can hold at once.
std::int64_t MostBlocks(const ScaleLadder& ladder,
                        const CacheGeometry& geometry, int branches) {
  std::int64_t blocks = 0;
  for (int s = 0; s + 1 < ladder.num_scales(); ++s) {
    blocks += (ladder.tokens(s) + kBlockTokens - 1) / kBlockTokens;
  }
  return blocks * branches * geometry.heads_in_model();
}

}  // namespace

Trajectory::Trajectory(std::shared_ptr<const Schedule> schedule,
                       const CacheGeometry& geometry, int branches)
    : schedule_(std::move(schedule)), geometry_(geometry), branches_(branches) {
  HEATKV_CHECK_EQ(schedule_->layers(), geometry_.layers);
  HEATKV_CHECK_EQ(schedule_->heads(), geometry_.heads);
  HEATKV_CHECK(branches == 1 || branches == 2) << branches;

  const ScaleLadder& ladder = schedule_->ladder();
  const std::int64_t most = MostBlocks(ladder, geometry_, branches_);
  BlockPool pool(most);
  ImageCache cache(*pool.Reserve(most), schedule_, branches_);
  for (int scale = 0; scale < ladder.num_scales(); ++scale) {
    std::int64_t peak = cache.blocks_held();
    for (int layer = 0; layer < geometry_.layers; ++layer) {
      cache.CompleteLayer(scale, layer, nullptr);
      blocks_.push_back(cache.blocks_held());
      tokens_.push_back(cache.tokens_held());
      peak = std::max(peak, blocks_.back());
      peak_tokens_ = std::max(peak_tokens_, tokens_.back());
    }
    scale_peak_.push_back(peak);
    cache.FinishStep(most);
  }

  peak_from_.assign(ladder.num_scales() + 1, 0);
  for (int scale = ladder.num_scales() - 1; scale >= 0; --scale) {
    peak_from_[scale] = std::max(scale_peak_[scale], peak_from_[scale + 1]);
  }
  for (int scale = 0; scale < ladder.num_scales(); ++scale) {
    int rest = scale + 1;
    std::int64_t peak = scale_peak_[scale];
    while (blocks_before(rest) > blocks_before(scale)) {
      peak = std::max(peak, scale_peak_[rest++]);
    }
    rest_scale_.push_back(rest);
    climb_peak_.push_back(peak);
  }
}

}  // namespace heatkv::cache
