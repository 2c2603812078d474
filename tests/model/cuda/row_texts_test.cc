// What a row is told of its text against the text's own tensor, read from
// memory as a kernel reads it.

#include "model/cuda/row_texts.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace heatkv::model {
namespace {

TextCondition TextOf(const at::Tensor& packed) {
  TextCondition text;
  text.tokens = static_cast<int>(packed.size(2));
  text.packed = packed;
  return text;
}

// Keys or values of all layers, [layers, 2, tokens, width].
at::Tensor Read(const kernels::RowText& row, int layers, int width) {
  at::Tensor all = at::empty({layers, 2, row.tokens, width}, at::kBFloat16);
  const std::int64_t bytes = std::int64_t{row.tokens} * width * 2;
  auto* to = static_cast<char*>(all.mutable_data_ptr());
  for (int part = 0; part < 2 * layers; ++part) {
    const auto* from = static_cast<const char*>(row.keys_values) +
                       std::int64_t{part} * row.room * width * 2;
    std::memcpy(to + part * bytes, from, bytes);
  }
  return all;
}

at::Tensor Random(at::IntArrayRef shape) {
  return at::randn(shape).to(at::kBFloat16);
}

TEST(RowTextsTest, EveryRowsTextIsFoundWhereItLies) {
  for (const int layers : {1, 3}) {
    for (const int heads : {1, 2}) {
      // As they come out of the large product: token by token.
      std::vector<TextCondition> texts;
      for (const int tokens : {1, 2, 7}) {
        texts.push_back(TextOf(Random({tokens, layers, 2, heads, 8})
                                   .permute({1, 2, 0, 3, 4})
                                   .contiguous()));
      }
      // Beginnings of one text.
      const at::Tensor whole = Random({layers, 2, 9, heads, 8});
      for (const int tokens : {1, 4, 9}) {
        texts.push_back(TextOf(whole.narrow(2, 0, tokens)));
      }
      std::vector<const TextCondition*> rows;
      for (const TextCondition& text : texts) rows.push_back(&text);
      rows.push_back(&texts[1]);
      const std::vector<kernels::RowText> found = RowTexts(rows);
      ASSERT_EQ(found.size(), rows.size());
      for (std::size_t i = 0; i < rows.size(); ++i) {
        ASSERT_EQ(found[i].tokens, rows[i]->tokens);
        EXPECT_TRUE(at::equal(
            Read(found[i], layers, heads * 8),
            rows[i]->packed.reshape({layers, 2, rows[i]->tokens, heads * 8})))
            << layers << " layers, " << heads << " heads, row " << i;
      }
    }
  }
}

TEST(RowTextsDeathTest, TextThatLiesOtherwiseIsABug) {
  const TextCondition text =
      TextOf(Random({5, 2, 2, 3, 8})
                 .permute({1, 2, 0, 3, 4}));  // as it leaves the product
  const TextCondition* const row = &text;
  EXPECT_DEATH(RowTexts({&row, 1}), "dimension");
}

}  // namespace
}  // namespace heatkv::model
