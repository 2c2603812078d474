// A ranking of heads for a model whose weights are random: what a measurement
// needs to prune a cache, because a schedule's shape changes neither speed nor
// memory.
//
// Thread safety: stateless.

#ifndef SERVER_RANDOM_RANKING_H_
#define SERVER_RANDOM_RANKING_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "cache/ranking.h"
#include "model/api/model_spec.h"

namespace heatkv::server {

// All heads in an order drawn from `seed`, anew for each source scale of the
// model's longest ladder; the same on every machine.  Fails with
// InvalidArgument if no ladder has a scale that could be dropped.
absl::StatusOr<cache::Ranking> RandomRanking(const model::ModelSpec& spec,
                                             std::uint64_t seed);

}  // namespace heatkv::server

#endif  // SERVER_RANDOM_RANKING_H_
