// Trajectories of a few blocks, whose numbers can be told by hand or by dice.

#ifndef TESTS_CACHE_HAND_TRAJECTORY_H_
#define TESTS_CACHE_HAND_TRAJECTORY_H_

#include <memory>
#include <vector>

#include "cache/trajectory.h"
#include "tests/cache/random_case.h"

namespace heatkv::cache {

// One layer, one head, one branch.  Scale s has blocks[s] whole blocks, no
// fewer than the scale before, and they leave in scale leaves[s]: s or later;
// if it is s, they are never stored; if it is not before the last scale, they
// stay. Scale 0 is a sink and stays, the last scale is never stored.
//
// So after scale s the image holds the blocks of those scales up to s that
// leave later, after the last scale none, and in scale s at most the greater of
// what it holds before and after.
std::shared_ptr<const Trajectory> HandTrajectory(
    const std::vector<int>& blocks, const std::vector<int>& leaves);

// 2 to `most_scales` scales of up to 5 blocks each that leave at random.
std::shared_ptr<const Trajectory> RandomTrajectory(Dice* dice, int most_scales);

}  // namespace heatkv::cache

#endif  // TESTS_CACHE_HAND_TRAJECTORY_H_
