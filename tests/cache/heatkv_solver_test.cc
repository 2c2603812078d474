#include "cache/heatkv_solver.h"

#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache/literal_heatkv.h"
#include "tests/cache/random_case.h"

namespace heatkv::cache {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kCases = 2000;

Budget MakeBudget(double fraction) { return *Budget::Create(fraction); }

void ExpectSame(const Schedule& schedule, const LiteralSchedule& expected) {
  const ScaleLadder& ladder = schedule.ladder();
  for (int t = 0; t < ladder.num_scales(); ++t) {
    SCOPED_TRACE(testing::Message() << "target scale " << t);
    EXPECT_EQ(schedule.heads_dropped(t), expected.x[t]);
    EXPECT_EQ(schedule.removed_total(t), expected.removed[t].size());
    for (int s = ladder.first_prunable(); s < ladder.end_prunable(); ++s) {
      for (int l = 0; l < schedule.layers(); ++l) {
        for (int h = 0; h < schedule.heads(); ++h) {
          const HeadIndex head{.layer = l, .head = h};
          ASSERT_EQ(schedule.IsRemoved(t, s, head),
                    expected.removed[t].contains({s, l, h}))
              << s << " " << l << " " << h;
          if (s > t) continue;
          ASSERT_EQ(schedule.IsKeptAfter(t, s, head),
                    !expected.final[t].contains({s, l, h}))
              << s << " " << l << " " << h;
        }
      }
    }
    for (int layer = 0; layer < schedule.layers(); ++layer) {
      std::vector<std::tuple<int, int, int>> early;
      for (const EarlyDrop& drop : schedule.early_drops(t, layer)) {
        early.emplace_back(drop.source_scale, drop.head.layer, drop.head.head);
      }
      EXPECT_EQ(early, expected.early[t][layer]) << "after layer " << layer;
    }
  }
}

TEST(HeatKvSolverTest, EqualsTheLiteralPolicyOnRandomModelsAndBudgets) {
  int solved = 0;
  int early = 0;
  for (int seed = 0; seed < kCases; ++seed) {
    const RandomCase c = MakeRandomCase(seed);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << c.ToString());
    const std::optional<LiteralSchedule> expected =
        LiteralHeatKv(c.ladder, c.ranking, c.budget.fraction());
    const absl::StatusOr<Schedule> schedule = SolveHeatKv(
        c.ladder, c.geometry.layers, c.geometry.heads, c.ranking, c.budget);
    ASSERT_EQ(schedule.ok(), expected.has_value()) << schedule.status();
    if (!schedule.ok()) {
      EXPECT_THAT(std::string(schedule.status().message()),
                  HasSubstr("cannot be met"));
      continue;
    }
    ASSERT_NO_FATAL_FAILURE(ExpectSame(*schedule, *expected));
    ++solved;
    for (int t = 0; t < c.ladder.num_scales(); ++t) {
      early += static_cast<int>(schedule->early_drops(t).size());
    }
  }
  // The cases are worth something: nearly all have a schedule, and early drops
  // are frequent.
  EXPECT_GT(solved, kCases * 9 / 10);
  EXPECT_GT(early, kCases / 2);
}

TEST(HeatKvSolverTest, DropsTheFirstOfEachSourceScalesRanking) {
  const ScaleLadder ladder = InfinityLadder();
  const Ranking ranking = RandomRanking(ladder, 32, 16, 7);
  const absl::StatusOr<Schedule> schedule =
      SolveHeatKv(ladder, 32, 16, ranking, MakeBudget(0.1));
  ASSERT_TRUE(schedule.ok()) << schedule.status();
  const int dropped = schedule->heads_dropped(12);
  EXPECT_EQ(dropped, 463);
  for (int s = ladder.first_prunable(); s < ladder.end_prunable(); ++s) {
    for (int rank = 0; rank < 512; ++rank) {
      EXPECT_EQ(schedule->IsRemoved(12, s, ranking.order(s)[rank]),
                rank < dropped)
          << "source scale " << s << ", rank " << rank;
    }
  }
}

TEST(HeatKvSolverTest, FullBudgetDropsNothing) {
  const ScaleLadder ladder = InfinityLadder();
  const absl::StatusOr<Schedule> schedule =
      SolveHeatKv(ladder, 4, 4, RandomRanking(ladder, 4, 4, 1), Budget::Full());
  ASSERT_TRUE(schedule.ok());
  for (int t = 0; t < ladder.num_scales(); ++t) {
    EXPECT_EQ(schedule->removed_total(t), 0);
  }
}

TEST(HeatKvSolverTest, BudgetOfTheSinksAloneKeepsNothingElse) {
  // 4 sink tokens of 16: a budget that a double holds exactly.
  const ScaleLadder ladder = *ScaleLadder::Create({{2, 2}, {2, 6}, {8, 8}}, 1);
  const absl::StatusOr<Schedule> schedule = SolveHeatKv(
      ladder, 2, 3, RandomRanking(ladder, 2, 3, 1), MakeBudget(0.25));
  ASSERT_TRUE(schedule.ok()) << schedule.status();
  EXPECT_EQ(schedule->removed_total(1), 0);
  EXPECT_EQ(schedule->removed_total(2), 6);
}

TEST(HeatKvSolverTest, BudgetBelowTheSinksNamesBothTokenCounts) {
  const ScaleLadder ladder = InfinityLadder();
  const absl::Status status =
      SolveHeatKv(ladder, 4, 4, RandomRanking(ladder, 4, 4, 1),
                  MakeBudget(0.002))
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("12.85 tokens"), HasSubstr("21 tokens")));
}

TEST(HeatKvSolverTest, RankingOfAnotherModelNamesBothSizes) {
  const ScaleLadder ladder = InfinityLadder();
  const absl::Status status =
      SolveHeatKv(ladder, 32, 16, RandomRanking(ladder, 4, 5, 1),
                  MakeBudget(0.1))
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("4 layers of 5"), HasSubstr("32 of 16")));
}

TEST(HeatKvSolverTest, RankingOfAnotherLadderNamesBothRanges) {
  const ScaleLadder ladder = InfinityLadder();
  const ScaleLadder other = SquareLadder({1, 2, 3, 4, 5, 6}, 2);
  const absl::Status status =
      SolveHeatKv(ladder, 4, 4, RandomRanking(other, 4, 4, 1), MakeBudget(0.1))
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("2 to 4"), HasSubstr("3 to 11")));
}

}  // namespace
}  // namespace heatkv::cache
