#include "bench/random_ranking.h"

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

namespace heatkv::server {

absl::StatusOr<cache::Ranking> RandomRanking(const cache::ScaleLadder& ladder,
                                             int layers, int heads,
                                             std::uint64_t seed) {
  std::vector<cache::HeadIndex> all;
  for (int layer = 0; layer < layers; ++layer) {
    for (int head = 0; head < heads; ++head) {
      all.push_back({.layer = layer, .head = head});
    }
  }
  std::mt19937_64 random(seed);
  std::vector<std::vector<cache::HeadIndex>> orders;
  for (int s = ladder.sink_scales(); s + 1 < ladder.num_scales(); ++s) {
    std::shuffle(all.begin(), all.end(), random);
    orders.push_back(all);
  }
  return cache::Ranking::Create(layers, heads, ladder.sink_scales(),
                                std::move(orders));
}

}  // namespace heatkv::server
