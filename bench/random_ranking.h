// A ranking for measurements: every source scale's heads in random order.  What
// a budget costs in time and memory hardly depends on which heads lose.

#ifndef BENCH_RANDOM_RANKING_H_
#define BENCH_RANDOM_RANKING_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "cache/ladder.h"
#include "cache/ranking.h"

namespace heatkv::server {

absl::StatusOr<cache::Ranking> RandomRanking(const cache::ScaleLadder& ladder,
                                             int layers, int heads,
                                             std::uint64_t seed);

}  // namespace heatkv::server

#endif  // BENCH_RANDOM_RANKING_H_
