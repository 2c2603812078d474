#include "cache/trajectory.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cache/heatkv_solver.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache/hand_trajectory.h"
#include "tests/cache/literal_heatkv.h"
#include "tests/cache/random_case.h"

namespace heatkv::cache {
namespace {

constexpr CacheGeometry kInfinity2b{
    .layers = 32, .heads = 16, .head_width = 128, .bytes_per_value = 2};
constexpr CacheGeometry kInfinity8b{
    .layers = 40, .heads = 28, .head_width = 128, .bytes_per_value = 2};

Trajectory Rehearse(const ScaleLadder& ladder, const CacheGeometry& geometry,
                    double budget, int branches, std::uint64_t seed) {
  return Trajectory(
      std::make_shared<const Schedule>(*SolveHeatKv(
          ladder, geometry.layers, geometry.heads,
          RandomRanking(ladder, geometry.layers, geometry.heads, seed),
          *Budget::Create(budget))),
      geometry, branches);
}

double Share(const Trajectory& trajectory) {
  return static_cast<double>(trajectory.peak_bytes()) /
         static_cast<double>(trajectory.full_cache_bytes());
}

TEST(TrajectoryTest, TokensNeverPassTheBudgetAndEqualTheLiteralCount) {
  int schedules = 0;
  for (int seed = 0; seed < 1000; ++seed) {
    const RandomCase c = MakeRandomCase(seed);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << c.ToString());
    const std::optional<LiteralSchedule> literal =
        LiteralHeatKv(c.ladder, c.ranking, c.budget.fraction());
    if (!literal.has_value()) continue;
    ++schedules;
    const Trajectory trajectory(std::make_shared<const Schedule>(*SolveHeatKv(
                                    c.ladder, c.geometry.layers,
                                    c.geometry.heads, c.ranking, c.budget)),
                                c.geometry, c.branches);
    const double theta =
        c.budget.model_tokens(c.ladder, c.geometry.layers, c.geometry.heads);
    for (int t = 0; t + 1 < c.ladder.num_scales(); ++t) {
      for (int layer = 0; layer < c.geometry.layers; ++layer) {
        const std::int64_t tokens = trajectory.tokens(t, layer);
        ASSERT_EQ(tokens % c.branches, 0);
        if (t >= c.ladder.sink_scales()) {
          ASSERT_EQ(tokens / c.branches, literal->tokens[t][layer]);
          ASSERT_LE(static_cast<double>(tokens / c.branches), theta);
        } else {
          // A sink scale is stored layer by layer.
          ASSERT_EQ(tokens / c.branches,
                    (c.ladder.tokens_before(t) * c.geometry.layers +
                     c.ladder.tokens(t) * (layer + 1)) *
                        c.geometry.heads);
        }
        ASSERT_GE(trajectory.blocks(t, layer) * kBlockTokens, tokens);
      }
    }
  }
  EXPECT_GT(schedules, 900);
}

TEST(TrajectoryTest, PeaksAreTheMaximaOfWhatIsLeft) {
  for (int seed = 0; seed < 200; ++seed) {
    const RandomCase c = MakeRandomCase(seed);
    const absl::StatusOr<Schedule> schedule = SolveHeatKv(
        c.ladder, c.geometry.layers, c.geometry.heads, c.ranking, c.budget);
    if (!schedule.ok()) continue;
    const Trajectory trajectory(std::make_shared<const Schedule>(*schedule),
                                c.geometry, c.branches);
    const int scales = c.ladder.num_scales();
    EXPECT_EQ(trajectory.blocks_before(0), 0);
    EXPECT_EQ(trajectory.blocks_after(scales - 1), 0);
    EXPECT_EQ(trajectory.peak_blocks_from(scales), 0);
    std::int64_t peak = 0;
    for (int t = scales - 1; t >= 0; --t) {
      std::int64_t at_scale = trajectory.blocks_before(t);
      for (int layer = 0; layer < c.geometry.layers; ++layer) {
        at_scale = std::max(at_scale, trajectory.blocks(t, layer));
      }
      peak = std::max(peak, at_scale);
      EXPECT_EQ(trajectory.blocks_peak(t), at_scale) << t;
      EXPECT_EQ(trajectory.peak_blocks_from(t), peak) << t;
    }
    EXPECT_EQ(trajectory.peak_blocks(), peak);
  }
}

TEST(TrajectoryTest, ImageRestsWhereItFirstHoldsNoMoreThanNow) {
  int rests_before_the_end = 0;
  for (int seed = 0; seed < 400; ++seed) {
    const RandomCase c = MakeRandomCase(seed);
    const absl::StatusOr<Schedule> schedule = SolveHeatKv(
        c.ladder, c.geometry.layers, c.geometry.heads, c.ranking, c.budget);
    if (!schedule.ok()) continue;
    const Trajectory trajectory(std::make_shared<const Schedule>(*schedule),
                                c.geometry, c.branches);
    const int scales = c.ladder.num_scales();
    for (int t = 0; t < scales; ++t) {
      const int rest = trajectory.rest_scale(t);
      ASSERT_GT(rest, t);
      ASSERT_LE(rest, scales);
      EXPECT_LE(trajectory.blocks_before(rest), trajectory.blocks_before(t));
      std::int64_t peak = 0;
      for (int u = t; u < rest; ++u) {
        peak = std::max(peak, trajectory.blocks_peak(u));
        if (u > t) {
          EXPECT_GT(trajectory.blocks_before(u), trajectory.blocks_before(t));
        }
      }
      EXPECT_EQ(trajectory.climb_peak(t), peak);
      if (t > 0 && rest < scales) ++rests_before_the_end;
    }
    // Whoever holds nothing has the whole way before it.
    EXPECT_EQ(trajectory.rest_scale(0), scales);
    EXPECT_EQ(trajectory.climb_peak(0), trajectory.peak_blocks());
  }
  EXPECT_GT(rests_before_the_end, 100);
}

TEST(TrajectoryTest, FullCacheRestsOnlyWhereASharedBlockTakesAScale) {
  const Trajectory full(
      std::make_shared<const Schedule>(FullSchedule(InfinityLadder(), 2, 2)),
      {.layers = 2, .heads = 2, .head_width = 8, .bytes_per_value = 2}, 2);
  for (int t = 0; t < 13; ++t) {
    // A head's first 5 tokens of either branch lie in the same two blocks as
    // its first one.
    EXPECT_EQ(full.rest_scale(t), t == 1 ? 2 : 13) << t;
    EXPECT_EQ(full.climb_peak(t), t == 1 ? 4 * 2 : full.peak_blocks()) << t;
  }
}

// Held after each scale: 1, 5, 9, 4 + 1 (8 left, 4 came), 9, 0.
TEST(TrajectoryTest, RestsOfAHandMadeSchedule) {
  const auto hand = HandTrajectory({1, 4, 4, 4, 4, 4}, {0, 3, 3, 9, 9, 9});
  const Trajectory& t = *hand;
  const std::vector<std::int64_t> held = {0, 1, 5, 9, 5, 9, 0};
  for (int s = 0; s <= 6; ++s) EXPECT_EQ(t.blocks_before(s), held[s]) << s;
  EXPECT_EQ(t.rest_scale(0), 6);
  EXPECT_EQ(t.rest_scale(1), 6);
  EXPECT_EQ(t.rest_scale(2), 4);  // 5 again
  EXPECT_EQ(t.rest_scale(3), 4);
  EXPECT_EQ(t.rest_scale(4), 6);
  EXPECT_EQ(t.rest_scale(5), 6);
  for (int s = 0; s < 6; ++s) EXPECT_EQ(t.climb_peak(s), 9) << s;
}

TEST(TrajectoryTest, FullCacheOfInfinityHoldsEveryTokenInWholeBlocks) {
  const ScaleLadder ladder = InfinityLadder();
  const auto schedule =
      std::make_shared<const Schedule>(FullSchedule(ladder, 32, 16));
  const Trajectory guided(schedule, kInfinity2b, 2);
  // 6425 tokens x 2 branches of keys and values in bfloat16: 3212.5 MiB.
  EXPECT_EQ(guided.full_cache_bytes(), std::int64_t{6425} * 524288);
  EXPECT_EQ(guided.peak_tokens(), std::int64_t{6425} * 512 * 2);
  // A head pair: 42 sink tokens in 3 blocks, 2 x 36 tokens in 4 blocks and two
  // remainders of 4, one at the end of the sinks; the rest are whole blocks.
  EXPECT_EQ(guided.peak_blocks(),
            512 * (3 + 4 + 1 + 2 * (6425 - 57) / kBlockTokens));
}

TEST(TrajectoryTest, AllocatedBytesOfInfinityStayWithinThreePercentOfBudget) {
  const ScaleLadder ladder = InfinityLadder();
  for (const CacheGeometry& geometry : {kInfinity2b, kInfinity8b}) {
    for (const double budget : {0.2, 0.1, 0.05, 0.04}) {
      for (std::uint64_t seed = 0; seed < 3; ++seed) {
        EXPECT_LE(Share(Rehearse(ladder, geometry, budget, 2, seed)),
                  1.03 * budget)
            << geometry.layers << " layers, budget " << budget << ", seed "
            << seed;
      }
    }
    // A single branch shares its sink blocks with no other.
    EXPECT_LE(Share(Rehearse(ladder, geometry, 0.1, 1, 0)), 1.03 * 0.1);
  }
}

TEST(TrajectoryDeathTest, ScheduleOfAnotherModelIsABug) {
  const auto schedule =
      std::make_shared<const Schedule>(FullSchedule(InfinityLadder(), 2, 2));
  EXPECT_DEATH(Trajectory(schedule, kInfinity2b, 2), "layers");
}

}  // namespace
}  // namespace heatkv::cache
