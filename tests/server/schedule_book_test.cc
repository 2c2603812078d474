#include "server/engine/schedule_book.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_model.h"

namespace heatkv::server {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string NoHash(const cache::Schedule&) { return "hash"; }

class ScheduleBookTest : public testing::Test {
 protected:
  absl::Status Create(const cache::Ranking* ranking,
                      std::vector<TierSpec> tiers) {
    return ScheduleBook::Create(model_.spec(), model_.cache_geometry(), ranking,
                                std::move(tiers), NoHash)
        .status();
  }

  model::FakeModel model_{std::make_shared<model::FakeModel::Script>()};
  absl::StatusOr<cache::Ranking> ranking_ = cache::RankingFromScores(
      2, 2, 2, {{0.1, 0.4, 0.3, 0.2}, {0.4, 0.1, 0.2, 0.3}});
};

TEST_F(ScheduleBookTest, HoldsAPlanForEveryLadderAndTier) {
  const auto book = ScheduleBook::Create(
      model_.spec(), model_.cache_geometry(), &*ranking_,
      {{"full", cache::Budget::Full()}, {"half", *cache::Budget::Create(0.5)}},
      NoHash);
  ASSERT_TRUE(book.ok()) << book.status();
  EXPECT_EQ(book->FindTier("half"), 1);
  EXPECT_EQ(book->FindTier("quarter"), std::nullopt);
  for (const int ladder : {0, 1}) {
    EXPECT_EQ(book->plan(ladder, 0).schedule->ladder(),
              model_.spec().ladders[ladder].ladder);
    EXPECT_LT(book->plan(ladder, 1).guided->peak_tokens(),
              book->plan(ladder, 0).guided->peak_tokens());
    EXPECT_LT(book->plan(ladder, 1).unguided->peak_blocks(),
              book->plan(ladder, 1).guided->peak_blocks());
  }
}

TEST_F(ScheduleBookTest, RefusesABudgetBelowTheSinksWithBothNumbers) {
  const absl::Status status =
      Create(&*ranking_, {{"tiny", *cache::Budget::Create(0.1)}});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("tier \"tiny\" at 1:1 tiny"),
                    HasSubstr("3 tokens a head"), HasSubstr("the 5 tokens")));
}

TEST_F(ScheduleBookTest, NeedsARankingForAnyBudgetButTheWholeCache) {
  EXPECT_TRUE(Create(nullptr, {{"full", cache::Budget::Full()}}).ok());
  EXPECT_THAT(
      std::string(
          Create(nullptr, {{"half", *cache::Budget::Create(0.5)}}).message()),
      HasSubstr("has no profile"));
}

TEST_F(ScheduleBookTest, RefusesTwoTiersOfOneName) {
  EXPECT_THAT(std::string(Create(nullptr, {{"full", cache::Budget::Full()},
                                           {"full", cache::Budget::Full()}})
                              .message()),
              HasSubstr("two tiers are called \"full\""));
  EXPECT_FALSE(Create(nullptr, {}).ok());
}

}  // namespace
}  // namespace heatkv::server
