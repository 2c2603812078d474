// A ranking of heads for a model whose weights are random: what a measurement
// needs to prune a cache.  What a budget costs in time and memory hardly
// depends on which heads lose.
//
// Thread safety: stateless.

#ifndef MODEL_API_RANDOM_RANKING_H_
#define MODEL_API_RANDOM_RANKING_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "cache/ranking.h"
#include "model/api/model_spec.h"

namespace heatkv::model {

// All heads in an order drawn from `seed`, anew for each source scale of the
// model's longest ladder; the same on every machine.  Fails with
// InvalidArgument if no ladder has a scale that could be dropped.
absl::StatusOr<cache::Ranking> RandomRanking(const ModelSpec& spec,
                                             std::uint64_t seed);

}  // namespace heatkv::model

#endif  // MODEL_API_RANDOM_RANKING_H_
