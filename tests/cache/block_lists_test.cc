#include "cache/block_lists.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "cache/heatkv_solver.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache/literal_heatkv.h"
#include "tests/cache/random_case.h"

namespace heatkv::cache {
namespace {

// What a slot of the arena holds: image, layer, branch, head, scale, token.
using Token = std::array<int, 6>;

// Stands for a backend: executes plans on an arena of tokens that know who they
// are, and compares what every row reads with what the policy says.
class Arena {
 public:
  explicit Arena(std::int64_t blocks) : slots_(blocks * kBlockTokens) {}

  void Read(const StepPlan& plan, int image, int layer, const RandomCase& c,
            const LiteralSchedule& literal) {
    for (int b = 0; b < plan.branches; ++b) {
      for (int h = 0; h < plan.heads; ++h) {
        std::vector<Token> expected;
        for (int s = 0; s < plan.scale; ++s) {
          if (literal.removed[plan.scale].contains({s, layer, h})) continue;
          for (int i = 0; i < c.ladder.tokens(s); ++i) {
            expected.push_back({image, layer, b, h, s, i});
          }
        }
        std::vector<Token> found;
        for (const BlockSpan& span : plan.prefix_of(plan.row(layer, b, h))) {
          for (int i = 0; i < span.tokens; ++i) {
            found.push_back(slots_[span.block * kBlockTokens + span.first + i]);
          }
        }
        ASSERT_EQ(found, expected)
            << "scale " << plan.scale << ", image " << image << ", layer "
            << layer << ", branch " << b << ", head " << h;
      }
    }
  }

  void Write(const StepPlan& plan, int image, int layer, const RandomCase& c,
             const LiteralSchedule& literal) {
    for (int b = 0; b < plan.branches; ++b) {
      for (int h = 0; h < plan.heads; ++h) {
        int token = 0;
        for (const BlockSpan& span : plan.store_of(plan.row(layer, b, h))) {
          for (int i = 0; i < span.tokens; ++i) {
            slots_[span.block * kBlockTokens + span.first + i] = {
                image, layer, b, h, plan.scale, token++};
          }
        }
        const bool stores =
            plan.scale + 1 < c.ladder.num_scales() &&
            !literal.final[plan.scale].contains({plan.scale, layer, h});
        ASSERT_EQ(token, stores ? c.ladder.tokens(plan.scale) : 0);
      }
    }
  }

 private:
  std::vector<Token> slots_;
};

// A random case with its schedule, both ways.
struct Prepared {
  RandomCase c;
  LiteralSchedule literal;
  std::shared_ptr<const Trajectory> trajectory;
};

std::optional<Prepared> Prepare(std::uint64_t seed) {
  RandomCase c = MakeRandomCase(seed);
  std::optional<LiteralSchedule> literal =
      LiteralHeatKv(c.ladder, c.ranking, c.budget.fraction());
  if (!literal.has_value()) return std::nullopt;
  auto schedule = std::make_shared<const Schedule>(*SolveHeatKv(
      c.ladder, c.geometry.layers, c.geometry.heads, c.ranking, c.budget));
  auto trajectory = std::make_shared<const Trajectory>(std::move(schedule),
                                                       c.geometry, c.branches);
  return Prepared{std::move(c), *std::move(literal), std::move(trajectory)};
}

void ExpectOnTrajectory(const BlockLists& lists, const StepPlan& plan) {
  const Trajectory& trajectory = lists.trajectory();
  EXPECT_EQ(plan.blocks_before, trajectory.blocks_before(plan.scale));
  EXPECT_EQ(plan.blocks_peak, trajectory.blocks_peak(plan.scale));
  EXPECT_EQ(plan.blocks_after, trajectory.blocks_after(plan.scale));
  EXPECT_EQ(lists.blocks_held(), plan.blocks_after);
  EXPECT_EQ(lists.tokens_held(),
            trajectory.tokens(plan.scale, plan.layers - 1));
  std::int64_t sum = 0;
  for (int l = 0; l < plan.layers; ++l) {
    for (int h = 0; h < plan.heads; ++h) {
      sum += lists.blocks_held({.layer = l, .head = h});
    }
  }
  EXPECT_EQ(sum, lists.blocks_held());
}

TEST(BlockListsTest, EveryRowReadsItsSinksAndKeptSegmentsInOrder) {
  int images = 0;
  for (int seed = 0; seed < 600; ++seed) {
    std::optional<Prepared> p = Prepare(seed);
    if (!p.has_value()) continue;
    SCOPED_TRACE(testing::Message()
                 << "seed " << seed << ": " << p->c.ToString());
    ++images;
    // No block to spare: the pool is exactly what was planned.
    BlockPool pool(p->trajectory->peak_blocks());
    Arena arena(pool.capacity());
    BlockLists lists(&pool, p->trajectory);
    for (int t = 0; t < p->c.ladder.num_scales(); ++t) {
      const StepPlan plan = lists.PlanStep(t);
      ASSERT_NO_FATAL_FAILURE(ExpectOnTrajectory(lists, plan));
      EXPECT_EQ(pool.used(), p->trajectory->blocks_peak(t));
      EXPECT_EQ(pool.reserved(), p->trajectory->blocks_peak(t));
      EXPECT_EQ(lists.blocks_reserved(), p->trajectory->blocks_peak(t));
      for (int layer = 0; layer < plan.layers; ++layer) {
        ASSERT_NO_FATAL_FAILURE(arena.Read(plan, 0, layer, p->c, p->literal));
        ASSERT_NO_FATAL_FAILURE(arena.Write(plan, 0, layer, p->c, p->literal));
      }
      lists.FinishStep();
      EXPECT_EQ(pool.used(), lists.blocks_held());
      EXPECT_EQ(pool.reserved(), p->trajectory->blocks_after(t));
    }
    EXPECT_EQ(pool.high_water(), p->trajectory->peak_blocks());
    EXPECT_EQ(lists.next_scale(), p->c.ladder.num_scales());
    EXPECT_EQ(pool.used(), 0);
  }
  EXPECT_GT(images, 500);
}

// Several images of several models share a pool; random groups of them are
// planned one after another and then executed together, layer by layer.
TEST(BlockListsTest, ImagesPlannedTogetherNeverTouchEachOther) {
  struct Image {
    Prepared prepared;
    std::unique_ptr<BlockLists> lists;
    StepPlan plan;
  };
  for (int round = 0; round < 60; ++round) {
    Dice dice(round);
    std::vector<Image> images;
    std::int64_t blocks = 0;
    for (int i = 0; i < 4; ++i) {
      std::optional<Prepared> p = Prepare(1000 + round * 4 + i);
      if (!p.has_value()) continue;
      blocks += p->trajectory->peak_blocks();
      images.push_back({*std::move(p), nullptr, {}});
    }
    BlockPool pool(blocks);
    Arena arena(blocks);
    for (Image& image : images) {
      image.lists =
          std::make_unique<BlockLists>(&pool, image.prepared.trajectory);
    }
    for (bool all_done = false; !all_done;) {
      all_done = true;
      std::vector<int> group;
      for (int i = 0; i < static_cast<int>(images.size()); ++i) {
        Image& image = images[i];
        if (image.lists == nullptr) continue;
        const int scales = image.prepared.c.ladder.num_scales();
        if (image.lists->next_scale() == scales) continue;
        if (dice.Int(0, 60) == 0) {  // cancelled between two steps
          image.lists.reset();
          continue;
        }
        all_done = false;
        if (dice.Int(0, 2) == 0) continue;
        image.plan = image.lists->PlanStep(image.lists->next_scale());
        ExpectOnTrajectory(*image.lists, image.plan);
        group.push_back(i);
      }
      for (int layer = 0; layer < 10; ++layer) {
        for (const bool writes : {false, true}) {
          for (const int i : group) {
            const Image& image = images[i];
            if (layer >= image.plan.layers) continue;
            if (writes) {
              ASSERT_NO_FATAL_FAILURE(arena.Write(image.plan, i, layer,
                                                  image.prepared.c,
                                                  image.prepared.literal));
            } else {
              ASSERT_NO_FATAL_FAILURE(arena.Read(image.plan, i, layer,
                                                 image.prepared.c,
                                                 image.prepared.literal));
            }
          }
        }
      }
      for (const int i : group) images[i].lists->FinishStep();
      std::int64_t held = 0;
      for (const Image& image : images) {
        if (image.lists != nullptr) held += image.lists->blocks_held();
      }
      ASSERT_EQ(pool.used(), held);
    }
    images.clear();
    EXPECT_EQ(pool.used(), 0);
    EXPECT_EQ(pool.reserved(), 0);
  }
}

class OneImageTest : public testing::Test {
 protected:
  OneImageTest()
      : trajectory_(std::make_shared<const Trajectory>(
            std::make_shared<const Schedule>(
                FullSchedule(SquareLadder({1, 2, 3, 4, 6}, 2), 2, 3)),
            CacheGeometry{
                .layers = 2, .heads = 3, .head_width = 8, .bytes_per_value = 2},
            2)),
        pool_(trajectory_->peak_blocks() + 5) {}

  std::shared_ptr<const Trajectory> trajectory_;
  BlockPool pool_;
};

TEST_F(OneImageTest, DestroyedInTheMiddleOfAStepReturnsEveryBlock) {
  for (int stop = 0; stop < 5; ++stop) {
    {
      BlockLists lists(&pool_, trajectory_);
      for (int t = 0; t <= stop; ++t) {
        const StepPlan plan = lists.PlanStep(t);
        if (t < stop) lists.FinishStep();
      }
      EXPECT_GT(pool_.used(), 0);
    }
    EXPECT_EQ(pool_.used(), 0);
    EXPECT_EQ(pool_.reserved(), 0);
  }
}

TEST_F(OneImageTest, PlansOfTheSameHistoryAreTheSame) {
  std::vector<StepPlan> plans;
  for (int run = 0; run < 2; ++run) {
    BlockPool pool(100);
    BlockLists lists(&pool, trajectory_);
    for (int t = 0; t < 5; ++t) {
      plans.push_back(lists.PlanStep(t));
      lists.FinishStep();
    }
  }
  for (int t = 0; t < 5; ++t) {
    EXPECT_EQ(plans[t].prefix, plans[t + 5].prefix);
    EXPECT_EQ(plans[t].store, plans[t + 5].store);
  }
}

using OneImageDeathTest = OneImageTest;

TEST_F(OneImageDeathTest, StepsOutOfOrderAreABug) {
  BlockLists lists(&pool_, trajectory_);
  EXPECT_DEATH((void)lists.PlanStep(1), "scale == next_scale_");
  EXPECT_DEATH(lists.FinishStep(), "step_is_open_");
  (void)lists.PlanStep(0);
  EXPECT_DEATH((void)lists.PlanStep(1), "scale 0 is not finished");
}

TEST_F(OneImageTest, ReservesOnlyWhatTheStepAndThenTheImageHolds) {
  BlockLists lists(&pool_, trajectory_);
  EXPECT_EQ(pool_.reserved(), 0);
  for (int t = 0; t < 5; ++t) {
    (void)lists.PlanStep(t);
    EXPECT_EQ(lists.blocks_reserved(), trajectory_->blocks_peak(t)) << t;
    lists.FinishStep();
    EXPECT_EQ(lists.blocks_reserved(), trajectory_->blocks_after(t)) << t;
    EXPECT_EQ(pool_.reserved(), lists.blocks_reserved()) << t;
  }
}

// The sum of the peaks exceeds this pool: the first image grows to its peak
// after the second one has come and gone.
TEST_F(OneImageTest, TwoImagesWhosePeaksDoNotFitTogetherTakeTurns) {
  BlockPool pool(trajectory_->peak_blocks() + trajectory_->blocks_after(0));
  BlockLists first(&pool, trajectory_);
  BlockLists second(&pool, trajectory_);
  (void)first.PlanStep(0);
  first.FinishStep();
  for (BlockLists* lists : {&second, &first}) {
    for (int t = lists->next_scale(); t < 5; ++t) {
      (void)lists->PlanStep(t);
      lists->FinishStep();
    }
  }
  EXPECT_EQ(pool.used(), 0);
  EXPECT_EQ(pool.reserved(), 0);
}

TEST_F(OneImageDeathTest, StepThatThePoolHasNoRoomForIsABug) {
  BlockPool pool(trajectory_->peak_blocks() - 1);
  BlockLists lists(&pool, trajectory_);
  int t = 0;
  for (; trajectory_->blocks_peak(t) < trajectory_->peak_blocks(); ++t) {
    (void)lists.PlanStep(t);
    lists.FinishStep();
  }
  EXPECT_DEATH((void)lists.PlanStep(t),
               testing::ContainsRegex("scale 3 needs [0-9]+ blocks"));
}

}  // namespace
}  // namespace heatkv::cache
