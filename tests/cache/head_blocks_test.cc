#include "cache/head_blocks.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "cache/block_source.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache/random_case.h"

namespace heatkv::cache {
namespace {

constexpr int kPool = 100000;

class HeadBlocksTest : public testing::Test {
 protected:
  HeadBlocksTest() : pool_(kPool), source_(*pool_.Reserve(kPool)) {}
  ~HeadBlocksTest() override { source_.ReturnAside(); }

  void StoreSinks(const ScaleLadder& ladder, int branches, HeadBlocks* head) {
    for (int s = 0; s < ladder.sink_scales(); ++s) {
      for (int b = 0; b < branches; ++b) {
        head->Store(ladder, b, s, &source_, nullptr);
      }
    }
  }

  BlockPool pool_;
  BlockSource source_;
};

TEST_F(HeadBlocksTest, SinksOfBothBranchesLieInOneRun) {
  const ScaleLadder ladder = InfinityLadder();
  HeadBlocks head(ladder, 2);
  StoreSinks(ladder, 2, &head);
  EXPECT_EQ(head.blocks(), 3);  // 2 x 21 tokens
  EXPECT_EQ(head.tokens(), 42);
  std::vector<BlockSpan> first;
  std::vector<BlockSpan> second;
  head.AppendPrefix(0, &first);
  head.AppendPrefix(1, &second);
  EXPECT_THAT(first,
              testing::ElementsAre(BlockSpan{0, 0, 16}, BlockSpan{1, 0, 5}));
  EXPECT_THAT(second,
              testing::ElementsAre(BlockSpan{1, 5, 11}, BlockSpan{2, 0, 10}));
  head.Clear(&source_);
}

TEST_F(HeadBlocksTest, RemainderFillsTheEndOfTheSinkRun) {
  const ScaleLadder ladder = InfinityLadder();
  HeadBlocks head(ladder, 1);
  StoreSinks(ladder, 1, &head);
  EXPECT_EQ(head.blocks(), 2);  // 21 tokens, 11 slots free
  std::vector<BlockSpan> slots;
  head.Store(ladder, 0, 3, &source_, &slots);  // 36 = 2 x 16 + 4
  EXPECT_EQ(head.blocks(), 4);
  ASSERT_EQ(slots.size(), 3);
  EXPECT_EQ(slots[2], (BlockSpan{1, 5, 4}));
  head.Drop(ladder, 0, 3, &source_);
  EXPECT_EQ(head.blocks(), 2);
  EXPECT_EQ(head.tokens(), 21);
  head.Clear(&source_);
}

TEST_F(HeadBlocksTest, SharedBlockLeavesWithItsLastRemainder) {
  // Sinks fill a block; 4 and 9 tokens share one; 25 leave 9, which do not fit.
  const ScaleLadder ladder = *ScaleLadder::Create(
      {{1, 16}, {1, 16}, {1, 20}, {1, 25}, {1, 25}, {1, 30}}, 1);
  HeadBlocks head(ladder, 1);
  StoreSinks(ladder, 1, &head);
  head.Store(ladder, 0, 1, &source_, nullptr);
  EXPECT_EQ(head.blocks(), 2);
  head.Store(ladder, 0, 2, &source_, nullptr);  // 16 + 4: new shared block
  head.Store(ladder, 0, 3, &source_, nullptr);  // 16 + 9: beside the 4
  EXPECT_EQ(head.blocks(), 5);
  head.Store(ladder, 0, 4, &source_, nullptr);  // 16 + 9: 3 slots are too few
  EXPECT_EQ(head.blocks(), 7);
  head.Drop(ladder, 0, 2, &source_);
  EXPECT_EQ(head.blocks(), 6);  // the 9 hold the shared block
  head.Drop(ladder, 0, 3, &source_);
  EXPECT_EQ(head.blocks(), 4);
  head.Clear(&source_);
  EXPECT_EQ(head.blocks(), 0);
  EXPECT_EQ(head.tokens(), 0);
}

// Blocks of a head whose segments are paged alone and whose sinks lie in one
// run.
std::int64_t PlainPaging(const ScaleLadder& ladder, int branches,
                         const std::set<std::pair<int, int>>& held) {
  std::int64_t blocks = (branches * ladder.sink_tokens() + 15) / 16;
  for (const auto& [branch, scale] : held) {
    blocks += (ladder.tokens(scale) + 15) / 16;
  }
  return blocks;
}

TEST_F(HeadBlocksTest, RandomDropsNeverCostMoreThanPlainPagingOrMixTokens) {
  for (int seed = 0; seed < 500; ++seed) {
    const RandomCase c = MakeRandomCase(seed);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << c.ToString());
    Dice dice(seed);
    const ScaleLadder& ladder = c.ladder;
    HeadBlocks head(ladder, c.branches);
    // What lies in each slot: (branch, scale, token).
    std::map<std::pair<int, int>, std::tuple<int, int, int>> arena;
    std::set<std::pair<int, int>> held;  // (branch, prunable scale)
    for (int s = 0; s < ladder.num_scales() - 1; ++s) {
      for (int b = 0; b < c.branches; ++b) {
        if (s >= ladder.sink_scales() && dice.Int(0, 4) == 0) continue;
        std::vector<BlockSpan> slots;
        head.Store(ladder, b, s, &source_, &slots);
        int token = 0;
        for (const BlockSpan& span : slots) {
          for (int i = 0; i < span.tokens; ++i) {
            arena[{span.block, span.first + i}] = {b, s, token++};
          }
        }
        ASSERT_EQ(token, ladder.tokens(s));
        if (s >= ladder.sink_scales()) held.insert({b, s});
      }
      while (!held.empty() && dice.Int(0, 2) == 0) {
        auto victim = held.begin();
        std::advance(victim, dice.Int(0, static_cast<int>(held.size()) - 1));
        head.Drop(ladder, victim->first, victim->second, &source_);
        held.erase(victim);
      }
      for (int b = 0; b < c.branches; ++b) {
        std::vector<std::tuple<int, int, int>> expected;
        for (int source = 0; source <= s; ++source) {
          const bool is_held =
              source < ladder.sink_scales() || held.contains({b, source});
          EXPECT_EQ(head.Holds(b, source), is_held);
          for (int i = 0; is_held && i < ladder.tokens(source); ++i) {
            expected.emplace_back(b, source, i);
          }
        }
        std::vector<BlockSpan> prefix;
        head.AppendPrefix(b, &prefix);
        std::vector<std::tuple<int, int, int>> found;
        for (const BlockSpan& span : prefix) {
          for (int i = 0; i < span.tokens; ++i) {
            found.push_back(arena[{span.block, span.first + i}]);
          }
        }
        ASSERT_EQ(found, expected);
      }
      if (s >= ladder.sink_scales() - 1) {
        ASSERT_LE(head.blocks(), PlainPaging(ladder, c.branches, held));
      }
      ASSERT_GE(head.blocks() * 16, head.tokens());
      ASSERT_EQ(head.blocks(), source_.held());
    }
    head.Clear(&source_);
    ASSERT_EQ(source_.held(), 0);
  }
}

}  // namespace
}  // namespace heatkv::cache
