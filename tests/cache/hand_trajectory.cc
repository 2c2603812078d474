#include "tests/cache/hand_trajectory.h"

#include <cstdint>
#include <utility>

#include "base/check.h"

namespace heatkv::cache {

std::shared_ptr<const Trajectory> HandTrajectory(
    const std::vector<int>& blocks, const std::vector<int>& leaves) {
  const int scales = static_cast<int>(blocks.size());
  std::vector<Grid> grids;
  for (const int b : blocks) grids.push_back({kBlockTokens, b});
  absl::StatusOr<ScaleLadder> ladder = ScaleLadder::Create(std::move(grids), 1);
  HEATKV_CHECK_OK(ladder.status());
  std::vector<Departure> departures;
  for (int s = 1; s + 1 < scales; ++s) {
    Departure departure;
    if (leaves[s] + 1 < scales) {
      departure.scale = static_cast<std::int16_t>(leaves[s]);
    }
    departures.push_back(departure);
  }
  auto schedule = std::make_shared<const Schedule>(
      "by hand", *std::move(ladder), 1, 1, Budget::Full(),
      std::move(departures), std::vector<std::vector<EarlyDrop>>(scales),
      std::vector<int>(scales, 0));
  return std::make_shared<const Trajectory>(
      std::move(schedule),
      CacheGeometry{
          .layers = 1, .heads = 1, .head_width = 8, .bytes_per_value = 2},
      1);
}

std::shared_ptr<const Trajectory> RandomTrajectory(Dice* dice,
                                                   int most_scales) {
  const int scales = dice->Int(2, most_scales);
  std::vector<int> blocks = {dice->Int(1, 2)};
  std::vector<int> leaves = {scales};
  for (int s = 1; s < scales; ++s) {
    blocks.push_back(dice->Int(blocks.back(), 5));
    leaves.push_back(dice->Int(s, scales));
  }
  return HandTrajectory(blocks, leaves);
}

}  // namespace heatkv::cache
