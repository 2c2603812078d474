#include "cache/ranking.h"

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv::cache {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Refusal(std::vector<HeadIndex> order) {
  return std::string(
      Ranking::Create(2, 2, 3, {std::move(order)}).status().message());
}

TEST(RankingTest, KeepsTheOrderOfEachSourceScale) {
  const std::vector<HeadIndex> first = {{0, 1}, {1, 1}, {0, 0}, {1, 0}};
  const std::vector<HeadIndex> second = {{1, 0}, {1, 1}, {0, 1}, {0, 0}};
  const absl::StatusOr<Ranking> ranking =
      Ranking::Create(2, 2, 3, {first, second});
  ASSERT_TRUE(ranking.ok()) << ranking.status();
  EXPECT_EQ(ranking->first_source_scale(), 3);
  EXPECT_EQ(ranking->end_source_scale(), 5);
  EXPECT_THAT(ranking->order(3), testing::ElementsAreArray(first));
  EXPECT_THAT(ranking->order(4), testing::ElementsAreArray(second));
}

TEST(RankingTest, ListOfAnotherLengthNamesScaleAndBothNumbers) {
  EXPECT_THAT(Refusal({{0, 0}, {0, 1}, {1, 0}}),
              AllOf(HasSubstr("source scale 3"), HasSubstr("3 heads"),
                    HasSubstr("has 4")));
}

TEST(RankingTest, HeadThatTheModelLacksIsRefused) {
  EXPECT_THAT(Refusal({{0, 0}, {0, 1}, {1, 0}, {1, 2}}),
              AllOf(HasSubstr("source scale 3, position 3"),
                    HasSubstr("layer 1 head 2"), HasSubstr("2 heads")));
  EXPECT_THAT(Refusal({{0, 0}, {0, 1}, {-1, 0}, {1, 1}}),
              HasSubstr("layer -1"));
}

TEST(RankingTest, HeadListedTwiceNamesBothPositions) {
  EXPECT_THAT(Refusal({{0, 0}, {0, 1}, {1, 0}, {0, 1}}),
              AllOf(HasSubstr("layer 0 head 1"), HasSubstr("1 and 3")));
}

TEST(RankingTest, EmptyRankingIsRefused) {
  EXPECT_FALSE(Ranking::Create(2, 2, 3, {}).ok());
  EXPECT_FALSE(Ranking::Create(0, 2, 3, {{}}).ok());
}

TEST(RankingTest, PrefixKeepsTheFirstSourceScales) {
  const Ranking ranking = *Ranking::Create(
      1, 2, 3, {{{0, 0}, {0, 1}}, {{0, 1}, {0, 0}}, {{0, 0}, {0, 1}}});
  const absl::StatusOr<Ranking> prefix = ranking.Prefix(5);
  ASSERT_TRUE(prefix.ok());
  EXPECT_EQ(prefix->end_source_scale(), 5);
  EXPECT_THAT(prefix->order(4), ElementsAre(HeadIndex{0, 1}, HeadIndex{0, 0}));
  EXPECT_EQ(*ranking.Prefix(6), ranking);
  EXPECT_FALSE(ranking.Prefix(3).ok());
  EXPECT_THAT(std::string(ranking.Prefix(7).status().message()),
              AllOf(HasSubstr("3 to 5"), HasSubstr("3 to 6")));
}

TEST(RankingFromScoresTest, EqualScoresRankByHeadThenLayer) {
  // Layer 0: heads 0.5, 0.1; layer 1: heads 0.1, 0.1.
  const absl::StatusOr<Ranking> ranking =
      RankingFromScores(2, 2, 1, {{0.5, 0.1, 0.1, 0.1}});
  ASSERT_TRUE(ranking.ok()) << ranking.status();
  EXPECT_THAT(ranking->order(1), ElementsAre(HeadIndex{1, 0}, HeadIndex{0, 1},
                                             HeadIndex{1, 1}, HeadIndex{0, 0}));
}

TEST(RankingFromScoresTest, ScoreThatIsNotFiniteNamesItsPlace) {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(),
                           std::numeric_limits<double>::infinity()}) {
    const absl::Status status =
        RankingFromScores(2, 2, 3, {{1, 2, 3, 4}, {1, 2, 3, bad}}).status();
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("source scale 4, layer 1, head 1"));
  }
}

TEST(RankingFromScoresTest, WrongCountNamesBothNumbers) {
  const absl::Status status = RankingFromScores(2, 2, 3, {{1, 2, 3}}).status();
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("source scale 3"), HasSubstr("3 values"),
                    HasSubstr("4 heads")));
}

}  // namespace
}  // namespace heatkv::cache
