// The law by which tiles of attention are dealt among thread blocks.

#include "tests/model/cuda/attention_dealing.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <set>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache/random_case.h"

namespace heatkv::model {
namespace {

using kernels::AttentionShape;
using kernels::AttentionWorkLayout;
using kernels::TileCost;
using testing::ElementsAre;

std::vector<std::int32_t> Slice(const std::vector<std::int32_t>& list,
                                std::int64_t begin, std::int64_t size) {
  return {list.begin() + begin, list.begin() + begin + size};
}

TEST(AttentionDealingTest, TilesGoToTheBlockWithTheLeastWork) {
  // Two heads of two tiles with 1 and 3 tiles of keys: 5 and 9 halves.
  const AttentionShape shape{.rows = 1, .heads = 2, .tokens = 129, .blocks = 3};
  const std::vector<std::int32_t> list =
      DealAttention(shape, std::vector<std::int32_t>{7, 8, 8 + 2 * 192 + 1});
  const AttentionWorkLayout layout(shape);
  // The dear tiles to blocks 0 and 1, the others to block 2, one each until it
  // has 5 and then 10.
  EXPECT_THAT(Slice(list, layout.begin(), 4), ElementsAre(0, 1, 2, 4));
  EXPECT_THAT(Slice(list, layout.tile(), 4), ElementsAre(0, 1, 0, 1));
  EXPECT_THAT(Slice(list, layout.head(), 4), ElementsAre(1, 1, 0, 0));
  EXPECT_THAT(Slice(list, layout.query_begin(), 4), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(Slice(list, layout.queries(), 4),
              ElementsAre(129, 129, 129, 129));
  EXPECT_THAT(Slice(list, layout.key_begin(), 4), ElementsAre(8, 8, 7, 7));
  EXPECT_THAT(Slice(list, layout.keys(), 4), ElementsAre(385, 385, 1, 1));
  EXPECT_THAT(Slice(list, layout.order(), 2), ElementsAre(1, 0));
  EXPECT_THAT(Slice(list, layout.dealt(), 4), ElementsAre(0, 1, 2, 256 + 2));
}

TEST(AttentionDealingTest,
     EveryTileIsDealtOnceAndNoBlockHasMuchMoreThanItsShare) {
  cache::Dice dice(4);
  for (int round = 0; round < 300; ++round) {
    const AttentionShape shape{.rows = dice.Int(1, 6),
                               .heads = dice.Int(1, 16),
                               .tokens = dice.Int(1, 1000),
                               .blocks = dice.Int(1, 256)};
    std::vector<std::int32_t> key_begin = {0};
    for (int i = 0; i < shape.sequences(); ++i) {
      key_begin.push_back(key_begin.back() + dice.Int(1, 5000));
    }
    const std::vector<std::int32_t> list = DealAttention(shape, key_begin);
    const AttentionWorkLayout layout(shape);
    ASSERT_EQ(list[layout.begin()], 0);
    ASSERT_EQ(list[layout.begin() + shape.blocks], shape.items());
    std::set<std::pair<int, int>> seen;
    int dearest = 0;
    for (int at = 0; at < shape.items(); ++at) {
      const int row = list[layout.query_begin() + at] / shape.tokens;
      const int sequence = row * shape.heads + list[layout.head() + at];
      const int tile = list[layout.tile() + at];
      ASSERT_EQ(list[layout.query_begin() + at] % shape.tokens, 0);
      ASSERT_TRUE(0 <= sequence && sequence < shape.sequences());
      ASSERT_TRUE(0 <= tile && tile < shape.tiles());
      seen.insert({sequence, tile});
      ASSERT_EQ(list[layout.queries() + at], shape.tokens);
      ASSERT_EQ(list[layout.key_begin() + at], key_begin[sequence]);
      ASSERT_EQ(list[layout.keys() + at],
                key_begin[sequence + 1] - key_begin[sequence]);
      dearest = std::max(dearest, TileCost(list[layout.keys() + at]));
    }
    ASSERT_EQ(seen.size(), shape.items());
    const std::vector<std::int64_t> costs = BlockCosts(shape, list);
    const double share =
        static_cast<double>(std::accumulate(costs.begin(), costs.end(), 0ll)) /
        shape.blocks;
    ASSERT_LE(*std::max_element(costs.begin(), costs.end()), share + dearest);
  }
}

// Infinity-2B at 1024x1024 under guidance, a tenth of the cache kept: heads
// that keep an earlier scale or not.
TEST(AttentionDealingTest, LargeScalesAreBalanced) {
  const cache::ScaleLadder ladder = cache::InfinityLadder();
  cache::Dice dice(9);
  for (int scale = 10; scale < ladder.num_scales(); ++scale) {
    const AttentionShape shape{.rows = 2,
                               .heads = 16,
                               .tokens = static_cast<int>(ladder.tokens(scale)),
                               .blocks = 132};
    std::vector<std::int32_t> key_begin = {0};
    for (int i = 0; i < shape.sequences(); ++i) {
      std::int64_t keys = shape.tokens;
      for (int s = 0; s < scale; ++s) {
        if (s < ladder.sink_scales() || dice.Int(0, 9) == 0) {
          keys += ladder.tokens(s);
        }
      }
      key_begin.push_back(key_begin.back() + static_cast<std::int32_t>(keys));
    }
    const std::vector<std::int64_t> costs =
        BlockCosts(shape, DealAttention(shape, key_begin));
    const double share =
        static_cast<double>(std::accumulate(costs.begin(), costs.end(), 0ll)) /
        shape.blocks;
    const double most = *std::max_element(costs.begin(), costs.end());
    std::printf("scale %d: %d tiles, the longest block has %.3f of its share\n",
                scale, shape.items(), most / share);
    // Of that many equal tiles some block has one more than others.
    const double blocks = shape.blocks;
    const double equal = std::ceil(shape.items() / blocks) * blocks /
                         static_cast<double>(shape.items());
    EXPECT_LT(most / share, equal);
  }
}

}  // namespace
}  // namespace heatkv::model
