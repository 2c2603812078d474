#include "tests/model/cached_image.h"

#include <random>
#include <utility>
#include <vector>

#include "base/check.h"
#include "cache/heatkv_solver.h"

namespace heatkv::model {

std::shared_ptr<const cache::Schedule> RandomSchedule(
    const cache::ScaleLadder& ladder, int layers, int heads, double budget,
    std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::vector<double>> scores;
  for (int s = ladder.first_prunable(); s < ladder.end_prunable(); ++s) {
    std::vector<double>& of_scale = scores.emplace_back();
    for (int i = 0; i < layers * heads; ++i) of_scale.push_back(random());
  }
  const auto ranking =
      cache::RankingFromScores(layers, heads, ladder.first_prunable(), scores);
  HEATKV_CHECK_OK(ranking.status());
  auto schedule = cache::SolveHeatKv(ladder, layers, heads, *ranking,
                                     *cache::Budget::Create(budget));
  HEATKV_CHECK_OK(schedule.status());
  return std::make_shared<const cache::Schedule>(*std::move(schedule));
}

CachedImage::CachedImage(std::shared_ptr<const cache::Schedule> schedule,
                         int head_width, int branches)
    : trajectory_(std::make_shared<const cache::Trajectory>(
          schedule,
          cache::CacheGeometry{.layers = schedule->layers(),
                               .heads = schedule->heads(),
                               .head_width = head_width,
                               .bytes_per_value = 4},
          branches)),
      pool_(trajectory_->peak_blocks()),
      lists_(std::make_unique<cache::BlockLists>(&pool_, trajectory_)) {}

}  // namespace heatkv::model
