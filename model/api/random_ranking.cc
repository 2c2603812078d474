#include "model/api/random_ranking.h"

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace heatkv::model {
namespace {

// std::shuffle's result depends on the library, this one's does not.
void Shuffle(std::mt19937_64& random, std::vector<cache::HeadIndex>* heads) {
  for (std::size_t i = heads->size(); i > 1; --i) {
    std::swap((*heads)[i - 1], (*heads)[random() % i]);
  }
}

}  // namespace

absl::StatusOr<cache::Ranking> RandomRanking(const ModelSpec& spec,
                                             std::uint64_t seed) {
  if (spec.ladders.empty()) {
    return absl::InvalidArgumentError("the model has no ladder");
  }
  const int first = spec.ladders[0].ladder.sink_scales();
  int end = first;
  for (const LadderSpec& ladder : spec.ladders) {
    end = std::max(end, ladder.ladder.end_prunable());
  }
  std::vector<cache::HeadIndex> heads;
  for (int layer = 0; layer < spec.transformer.depth; ++layer) {
    for (int head = 0; head < spec.transformer.heads; ++head) {
      heads.push_back({.layer = layer, .head = head});
    }
  }
  std::mt19937_64 random(seed);
  std::vector<std::vector<cache::HeadIndex>> orders;
  for (int scale = first; scale < end; ++scale) {
    Shuffle(random, &heads);
    orders.push_back(heads);
  }
  return cache::Ranking::Create(spec.transformer.depth, spec.transformer.heads,
                                first, std::move(orders));
}

}  // namespace heatkv::model
