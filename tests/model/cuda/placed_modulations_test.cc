#include "model/cuda/placed_modulations.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/cache/random_case.h"

namespace heatkv::model {
namespace {

constexpr int kWidth = 6;

std::unique_ptr<TextCondition> MakeText() {
  auto text = std::make_unique<TextCondition>();
  text->block_modulation = at::randn({1, 1, 6, kWidth});
  text->head_scale = at::randn({1, 1, kWidth});
  text->head_shift = at::randn({1, 1, kWidth});
  return text;
}

// Every row finds its text's, whatever was there before.
void ExpectInPlace(const std::vector<const TextCondition*>& texts,
                   const PlacedModulations& placed) {
  const auto rows = static_cast<std::int64_t>(texts.size());
  const GroupModulations group = placed.First(rows);
  ASSERT_EQ(group.block.size(0), rows);
  for (std::int64_t row = 0; row < rows; ++row) {
    const TextCondition& text = *texts[row];
    EXPECT_TRUE(
        at::equal(group.block.narrow(0, row, 1), text.block_modulation));
    EXPECT_TRUE(at::equal(group.head_scale.narrow(0, row, 1), text.head_scale));
    EXPECT_TRUE(at::equal(group.head_shift.narrow(0, row, 1), text.head_shift));
  }
}

TEST(PlacedModulationsTest, RandomGroupsFindTheirTextsWhateverCameBefore) {
  cache::Dice dice(7);
  std::vector<std::unique_ptr<TextCondition>> all;
  for (int i = 0; i < 6; ++i) all.push_back(MakeText());
  PlacedModulations placed(*all[0], 8);
  int copies = 0;
  int spared = 0;
  for (int step = 0; step < 400; ++step) {
    // Texts come and go, also at addresses that were another's before.
    if (dice.Int(0, 3) == 0) all[dice.Int(0, 5)] = MakeText();
    std::vector<const TextCondition*> texts;
    const int rows = dice.Int(1, 8);
    for (int row = 0; row < rows; ++row) {
      texts.push_back(all[dice.Int(0, 2)].get());
    }
    for (int again = dice.Int(0, 2); again >= 0; --again) {
      placed.Fill(texts) ? ++copies : ++spared;
      ASSERT_NO_FATAL_FAILURE(ExpectInPlace(texts, placed)) << step;
    }
  }
  EXPECT_GT(copies, 100);
  EXPECT_GT(spared, 100);
}

TEST(PlacedModulationsTest, SmallerGroupOfTheSameImageCopiesNothing) {
  const auto prompt = MakeText();
  const auto empty = MakeText();
  std::vector<const TextCondition*> texts;
  for (int slot = 0; slot < 4; ++slot) {
    texts.push_back(prompt.get());
    texts.push_back(empty.get());
  }
  PlacedModulations placed(*prompt, 8);
  EXPECT_TRUE(placed.Fill(texts));
  EXPECT_FALSE(placed.Fill(texts));
  const std::vector<const TextCondition*> fewer(texts.begin(),
                                                texts.begin() + 2);
  EXPECT_FALSE(placed.Fill(fewer));
  ExpectInPlace(fewer, placed);
  EXPECT_FALSE(placed.Fill(texts));
  ExpectInPlace(texts, placed);
}

TEST(PlacedModulationsTest, TextThatIsGoneIsNotTakenForAnotherOrKept) {
  auto text = MakeText();
  const std::vector<const TextCondition*> rows = {text.get()};
  PlacedModulations placed(*text, 1);
  placed.Fill(rows);
  const c10::weak_intrusive_ptr<c10::StorageImpl> memory(
      c10::intrusive_ptr<c10::StorageImpl>::reclaim_copy(
          text->block_modulation.storage().unsafeGetStorageImpl()));
  for (int i = 0; i < 50; ++i) {
    *text = *MakeText();  // likely where the last one was
    EXPECT_TRUE(placed.Fill(rows));
    ExpectInPlace(rows, placed);
  }
  EXPECT_TRUE(memory.expired());
}

TEST(PlacedModulationsDeathTest, MoreRowsThanThereIsRoomForAreABug) {
  const auto text = MakeText();
  PlacedModulations placed(*text, 2);
  EXPECT_EQ(placed.rows(), 2);
  const std::vector<const TextCondition*> rows(3, text.get());
  EXPECT_DEATH(placed.Fill(rows), "rows");
}

}  // namespace
}  // namespace heatkv::model
