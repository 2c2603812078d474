// Random but reproducible inputs for the laws of cache/: models, ladders,
// rankings and budgets.  A seed names a case for ever, on every machine.

#ifndef TESTS_CACHE_RANDOM_CASE_H_
#define TESTS_CACHE_RANDOM_CASE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "cache/budget.h"
#include "cache/geometry.h"
#include "cache/ladder.h"
#include "cache/ranking.h"

namespace heatkv::cache {

// A generator whose numbers do not depend on the standard library.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed) {}
  std::uint64_t Next();
  // Uniform enough: least <= result <= most.
  int Int(int least, int most) {
    return least + static_cast<int>(Next() % (most - least + 1));
  }
  double Fraction() {  // in [0, 1)
    return static_cast<double>(Next() >> 11) / 9007199254740992.0;
  }

 private:
  std::uint64_t state_;
};

struct RandomCase {
  ScaleLadder ladder;
  CacheGeometry geometry;
  Ranking ranking;
  Budget budget;  // never below the sinks
  int branches;

  std::string ToString() const;
};

RandomCase MakeRandomCase(std::uint64_t seed);

// All heads in random order, for each prunable scale of `ladder`.
Ranking RandomRanking(const ScaleLadder& ladder, int layers, int heads,
                      std::uint64_t seed);

// Square grids of these sides.
ScaleLadder SquareLadder(const std::vector<int>& sides, int sink_scales);

// The ladder of Infinity at 1024x1024, 3 sink scales.
ScaleLadder InfinityLadder();

}  // namespace heatkv::cache

#endif  // TESTS_CACHE_RANDOM_CASE_H_
