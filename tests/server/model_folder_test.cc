// Which folder a model's name means, and what stands in for files that a model
// on random weights does not have.

#include "server/model_folder.h"

#include <optional>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/api/random_ranking.h"

namespace heatkv::server {
namespace {

using testing::SizeIs;

constexpr char kTiny[] = "tests/integration/tiny";

TEST(ModelFolderTest, ANameWithoutAFolderIsOneBelowModels) {
  EXPECT_EQ(FindModelFolder("infinity-2b"), "models/infinity-2b");
  EXPECT_EQ(FindModelFolder("default"), "models/default");
  // A folder in the working directory.
  EXPECT_EQ(FindModelFolder("models"), "models");
  EXPECT_EQ(FindModelFolder("./default"), "./default");
  EXPECT_EQ(FindModelFolder("models/default"), "models/default");
  EXPECT_EQ(FindModelFolder("no-such-model"), "no-such-model");
}

TEST(ModelFolderTest, RandomWeightsNeedNothingButADescription) {
  EXPECT_EQ(OpenModelFolder("models/default")->random_weights, std::nullopt);
  const auto folder = OpenModelWithRandomWeights(kTiny, 5);
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->spec.name, "tiny");
  EXPECT_EQ(*DescribeWeights(*folder), "random, seed 5");
  ASSERT_NE(folder->ranking(), nullptr);
  EXPECT_TRUE(CheckProfileIsOf(*folder, "random, seed 5").ok());
}

TEST(ModelFolderTest, RandomWeightsDoNotTakeAProfileOfOtherWeights) {
  const auto folder = OpenModelWithRandomWeights("models/default", 5);
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_FALSE(folder->profile.has_value());
  EXPECT_NE(*folder->ranking(),
            OpenModelFolder("models/default")->profile->ranking);
}

TEST(ModelFolderTest, WeightsInFilesAreNamedByTheirHash) {
  EXPECT_THAT(*DescribeWeights(*OpenModelFolder("models/default")), SizeIs(64));
  EXPECT_EQ(DescribeWeights(*OpenModelFolder(kTiny)).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(RandomRankingTest, RanksEveryHeadForEveryScaleThatCanBeDropped) {
  const auto folder = OpenModelWithRandomWeights(kTiny, 5);
  const cache::Ranking& ranking = *folder->ranking();
  EXPECT_EQ(ranking.first_source_scale(), 2);
  EXPECT_EQ(ranking.end_source_scale(), 4);  // of five scales
  EXPECT_NE(std::vector(ranking.order(2).begin(), ranking.order(2).end()),
            std::vector(ranking.order(3).begin(), ranking.order(3).end()));
}

TEST(RandomRankingTest, DependsOnTheSeedAlone) {
  const auto folder = OpenModelWithRandomWeights(kTiny, 5);
  EXPECT_EQ(*model::RandomRanking(folder->spec, 5), *folder->ranking());
  EXPECT_NE(*model::RandomRanking(folder->spec, 6), *folder->ranking());
}

}  // namespace
}  // namespace heatkv::server
