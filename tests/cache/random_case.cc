#include "tests/cache/random_case.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace heatkv::cache {

std::uint64_t Dice::Next() {  // splitmix64
  state_ += 0x9e3779b97f4a7c15u;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

std::string RandomCase::ToString() const {
  std::string text =
      absl::StrCat(geometry.layers, " layers, ", geometry.heads, " heads, ",
                   branches, " branches, budget ", budget.ToString(), ", ",
                   ladder.sink_scales(), " sinks, scales");
  for (const Grid& grid : ladder.grids()) {
    absl::StrAppend(&text, " ", grid.height, "x", grid.width);
  }
  return text;
}

Ranking RandomRanking(const ScaleLadder& ladder, int layers, int heads,
                      std::uint64_t seed) {
  Dice dice(seed);
  std::vector<std::vector<HeadIndex>> orders;
  for (int s = ladder.first_prunable(); s < ladder.end_prunable(); ++s) {
    std::vector<HeadIndex> order;
    for (int layer = 0; layer < layers; ++layer) {
      for (int head = 0; head < heads; ++head) {
        order.push_back({.layer = layer, .head = head});
      }
    }
    for (int i = static_cast<int>(order.size()) - 1; i > 0; --i) {
      std::swap(order[i], order[dice.Int(0, i)]);
    }
    orders.push_back(std::move(order));
  }
  absl::StatusOr<Ranking> ranking = Ranking::Create(
      layers, heads, ladder.first_prunable(), std::move(orders));
  HEATKV_CHECK_OK(ranking.status());
  return *std::move(ranking);
}

ScaleLadder SquareLadder(const std::vector<int>& sides, int sink_scales) {
  std::vector<Grid> grids;
  for (const int side : sides) grids.push_back({side, side});
  absl::StatusOr<ScaleLadder> ladder =
      ScaleLadder::Create(std::move(grids), sink_scales);
  HEATKV_CHECK_OK(ladder.status());
  return *std::move(ladder);
}

ScaleLadder InfinityLadder() {
  return SquareLadder({1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64}, 3);
}

RandomCase MakeRandomCase(std::uint64_t seed) {
  Dice dice(seed);
  const int scales = dice.Int(3, 9);
  const int sinks = dice.Int(1, std::min(3, scales - 2));
  std::vector<Grid> grids = {{dice.Int(1, 2), dice.Int(1, 2)}};
  while (static_cast<int>(grids.size()) < scales) {
    const Grid last = grids.back();
    grids.push_back(
        {last.height + dice.Int(0, 3), last.width + dice.Int(0, 3)});
  }
  absl::StatusOr<ScaleLadder> ladder =
      ScaleLadder::Create(std::move(grids), sinks);
  HEATKV_CHECK_OK(ladder.status());
  const CacheGeometry geometry{.layers = dice.Int(1, 10),
                               .heads = dice.Int(1, 6),
                               .head_width = 8,
                               .bytes_per_value = 2};
  Ranking ranking =
      RandomRanking(*ladder, geometry.layers, geometry.heads, dice.Next());

  const double least = static_cast<double>(ladder->sink_tokens()) /
                       static_cast<double>(ladder->full_tokens());
  double fraction = least + (1.0 - least) * dice.Fraction();
  switch (dice.Int(0, 9)) {
    case 0:
      fraction = least;  // exactly the sinks
      break;
    case 1:
      fraction = 1.0;
      break;
    case 2:
      fraction = std::max(least, dice.Int(1, 20) / 20.0);  // a round number
      break;
    default:  // most often small, where schedules are tight
      fraction = least + (fraction - least) * dice.Fraction();
  }
  absl::StatusOr<Budget> budget = Budget::Create(std::min(1.0, fraction));
  HEATKV_CHECK_OK(budget.status());
  return {.ladder = *std::move(ladder),
          .geometry = geometry,
          .ranking = std::move(ranking),
          .budget = *budget,
          .branches = dice.Int(1, 2)};
}

}  // namespace heatkv::cache
