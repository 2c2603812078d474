#include "model/cuda/placed_texts.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/cache/random_case.h"

namespace heatkv::model {
namespace {

constexpr int kLayers = 2;
constexpr int kWidth = 6;

std::unique_ptr<TextCondition> MakeText(int tokens) {
  auto text = std::make_unique<TextCondition>();
  text->tokens = tokens;
  text->block_modulation = at::randn({1, 1, 6, kWidth});
  text->head_scale = at::randn({1, 1, kWidth});
  text->head_shift = at::randn({1, 1, kWidth});
  text->packed = at::randn({kLayers, 2, tokens, 2, kWidth / 2});
  return text;
}

// Every row finds its text, whatever was there before.
void ExpectInPlace(const std::vector<const TextCondition*>& texts,
                   const TextLayout& layout, const PlacedTexts& placed) {
  const GroupTexts group = placed.First(layout.rows());
  ASSERT_EQ(group.modulation.size(0), texts.size());
  for (std::size_t row = 0; row < texts.size(); ++row) {
    const auto r = static_cast<std::int64_t>(row);
    const TextCondition& text = *texts[row];
    EXPECT_TRUE(
        at::equal(group.modulation.narrow(0, r, 1), text.block_modulation));
    EXPECT_TRUE(at::equal(group.head_scale.narrow(0, r, 1), text.head_scale));
    EXPECT_TRUE(at::equal(group.head_shift.narrow(0, r, 1), text.head_shift));
    const TextRange& range = layout.ranges()[row];
    ASSERT_EQ(range.tokens, text.tokens);
    EXPECT_TRUE(at::equal(
        group.keys_values.narrow(2, range.begin, range.tokens), text.packed));
  }
}

TEST(PlacedTextsTest, RandomGroupsFindTheirTextsWhateverCameBefore) {
  cache::Dice dice(7);
  std::vector<std::unique_ptr<TextCondition>> all;
  for (int i = 0; i < 6; ++i) all.push_back(MakeText(dice.Int(1, 8)));
  std::unique_ptr<PlacedTexts> placed;
  int copies = 0;
  int spared = 0;
  for (int step = 0; step < 400; ++step) {
    // Texts come and go, also at addresses that were another's before.
    if (dice.Int(0, 3) == 0) {
      all[dice.Int(0, 5)] = MakeText(dice.Int(1, 8));
    }
    std::vector<const TextCondition*> texts;
    const int rows = dice.Int(1, 8);
    for (int row = 0; row < rows; ++row) {
      texts.push_back(all[dice.Int(0, 2)].get());
    }
    for (int again = dice.Int(0, 2); again >= 0; --again) {
      const TextLayout layout(texts);
      if (placed == nullptr) {
        placed = std::make_unique<PlacedTexts>(layout, 8, 64);
      }
      const int took = placed->Fill(layout);
      took > 0 ? ++copies : ++spared;
      ASSERT_NO_FATAL_FAILURE(ExpectInPlace(texts, layout, *placed)) << step;
    }
  }
  EXPECT_GT(copies, 100);
  EXPECT_GT(spared, 100);
}

TEST(PlacedTextsTest, SmallerGroupOfTheSameImageCopiesNothing) {
  const auto prompt = MakeText(5);
  const auto empty = MakeText(3);
  std::vector<const TextCondition*> texts;
  for (int slot = 0; slot < 4; ++slot) {
    texts.push_back(prompt.get());
    texts.push_back(empty.get());
  }
  const TextLayout large(texts);
  PlacedTexts placed(large, 8, 16);
  EXPECT_EQ(placed.Fill(large), 3);  // rows and two pieces
  EXPECT_EQ(placed.Fill(large), 0);
  texts.resize(2);
  const TextLayout small(texts);
  EXPECT_EQ(placed.Fill(small), 0);
  ExpectInPlace(texts, small, placed);
  EXPECT_EQ(placed.Fill(large), 0);
}

TEST(PlacedTextsTest, TextThatIsGoneIsNotTakenForAnotherOrKept) {
  auto text = MakeText(4);
  const TextCondition* const rows[] = {text.get()};
  const TextLayout layout(rows);
  PlacedTexts placed(layout, 1, 4);
  placed.Fill(layout);
  const c10::weak_intrusive_ptr<c10::StorageImpl> memory(
      c10::intrusive_ptr<c10::StorageImpl>::reclaim_copy(
          text->packed.storage().unsafeGetStorageImpl()));
  for (int i = 0; i < 50; ++i) {
    *text = *MakeText(4);  // likely where the last one was
    const TextLayout next(rows);
    EXPECT_EQ(placed.Fill(next), 2);
    ExpectInPlace({text.get()}, next, placed);
  }
  EXPECT_TRUE(memory.expired());
}

TEST(PlacedTextsTest, KnowsWhatItHasRoomFor) {
  const auto text = MakeText(4);
  const TextCondition* const rows[] = {text.get(), text.get()};
  const TextLayout layout(rows);
  EXPECT_TRUE(PlacedTexts(layout, 2, 4).HasRoomFor(layout));
  const auto longer = MakeText(5);
  const TextCondition* const one[] = {longer.get()};
  EXPECT_FALSE(PlacedTexts(layout, 2, 4).HasRoomFor(TextLayout(one)));
  const TextCondition* const three[] = {text.get(), text.get(), text.get()};
  EXPECT_FALSE(PlacedTexts(layout, 2, 4).HasRoomFor(TextLayout(three)));
}

}  // namespace
}  // namespace heatkv::model
