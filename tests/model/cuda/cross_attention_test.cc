// Cross-attention against float64 on the CPU, on texts that lie where they lie:
// each in a tensor of its own, or as the beginning of a longer one.  What no
// text owns is not a number.

#include "model/kernels/cross_attention.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "model/cuda/kernel_calls.h"
#include "tests/model/cuda/kernel_inputs.h"

namespace heatkv::model {
namespace {

constexpr int kLayers = 3;
constexpr int kLayer = 1;
constexpr int kHeads = 3;

struct Text {
  at::Tensor packed;  // [layers, 2, room, heads, head width]
  int tokens = 0;
};

// Tables of texts for the device.
at::Tensor TableOf(const std::vector<Text>& texts) {
  std::vector<kernels::RowText> rows;
  for (const Text& text : texts) {
    rows.push_back({.keys_values = text.packed.defined()
                                       ? text.packed.const_data_ptr()
                                       : nullptr,
                    .tokens = text.tokens,
                    .room = text.packed.defined()
                                ? static_cast<std::int32_t>(text.packed.size(2))
                                : 0});
  }
  std::vector<std::int32_t> values(rows.size() * 4);
  std::memcpy(values.data(), rows.data(), values.size() * sizeof(values[0]));
  return Upload(values);
}

kernels::CrossAttention WorkOf(const at::Tensor& queries,
                               const at::Tensor& table, at::Tensor& out) {
  kernels::CrossAttention work;
  work.queries = queries.const_data_ptr();
  work.out = out.mutable_data_ptr();
  work.texts =
      reinterpret_cast<const kernels::RowText*>(table.const_data_ptr<int>());
  work.layer = kLayer;
  work.rows = static_cast<int>(queries.size(0));
  work.tokens = static_cast<int>(queries.size(1));
  work.heads = static_cast<int>(queries.size(2));
  work.head_width = static_cast<int>(queries.size(3));
  work.scale = 1 / std::sqrt(static_cast<float>(work.head_width));
  return work;
}

// queries [rows, tokens, heads, head width] -> the same.  Fails if anything is
// written behind the result.
at::Tensor Attend(const at::Tensor& queries, const std::vector<Text>& texts) {
  at::Tensor padded =
      at::full({queries.numel() + 4096}, NAN, queries.options());
  at::Tensor out = padded.narrow(0, 0, queries.numel());
  const at::Tensor table = TableOf(texts);
  kernels::Launch(WorkOf(queries, table, out), CurrentStream());
  EXPECT_TRUE(
      padded.narrow(0, queries.numel(), 4096).isnan().all().item<bool>());
  return out.view(queries.sizes());
}

// The truth of one row: queries [tokens, heads, head width].
at::Tensor Truth(const at::Tensor& queries, const Text& text) {
  const auto double_of = [](const at::Tensor& x) {
    return x.cpu().to(at::kDouble).transpose(0, 1);
  };
  const at::Tensor part = text.packed[kLayer].narrow(1, 0, text.tokens);
  const at::Tensor scores =
      at::matmul(double_of(queries), double_of(part[0]).transpose(1, 2)) /
      std::sqrt(static_cast<double>(queries.size(2)));
  return at::matmul(at::softmax(scores, -1), double_of(part[1]))
      .transpose(0, 1);
}

class CrossAttentionTest : public KernelsTest {
 protected:
  // Of `tokens` in a room of `room`, whose other memory is not a number.
  Text MakeText(int tokens, int room, int width, int heads = kHeads) {
    at::Tensor packed = Random({kLayers, 2, room, heads, width}, at::kBFloat16);
    packed.narrow(2, tokens, room - tokens).fill_(NAN);
    // Scores that differ.
    packed.narrow(2, 0, tokens).mul_(2);
    return {.packed = packed, .tokens = tokens};
  }
};

TEST_P(CrossAttentionTest, ResultsAreThoseOfFloat64) {
  const int width = GetParam();
  double worst = 0;
  for (const int tokens : {1, 63, 64, 65, 129}) {
    for (const int of_text : {1, 15, 16, 17, 31, 33, 64, 65, 512}) {
      const std::vector<Text> texts = {
          MakeText(of_text, of_text + 5, width),
          MakeText(std::max(1, of_text / 3), of_text, width)};
      const at::Tensor queries =
          Random({2, tokens, kHeads, width}, at::kBFloat16);
      const at::Tensor out = Attend(queries, texts);
      for (int row = 0; row < 2; ++row) {
        const double error =
            RelativeError(out[row], Truth(queries[row], texts[row]));
        EXPECT_LT(error, 6e-3)
            << tokens << " tokens, text of " << texts[row].tokens;
        worst = std::max(worst, error);
      }
    }
  }
  std::printf("head width %d: worst relative error %.2e\n", width, worst);
}

// The smallest scores weigh nothing, the largest all; also where the largest
// comes last.
TEST_P(CrossAttentionTest, ScoresFarApartNeitherOverflowNorGetLost) {
  const int width = GetParam();
  for (const int best : {0, 20, 99}) {
    Text text = MakeText(100, 100, width);
    const at::Tensor queries =
        at::ones({1, 70, kHeads, width}, text.packed.options());
    text.packed[kLayer][0].fill_(-100);
    text.packed[kLayer][0][best].fill_(100);
    const at::Tensor out = Attend(queries, {text});
    EXPECT_TRUE(at::equal(
        out[0], text.packed[kLayer][1][best].unsqueeze(0).expand_as(out[0])));
  }
}

TEST_P(CrossAttentionTest, RowsDoNotDependOnTheirCompany) {
  const int width = GetParam();
  const Text shared = MakeText(80, 90, width);
  std::vector<Text> texts;
  for (const int tokens : {3, 80, 17, 64}) {
    texts.push_back({.packed = shared.packed, .tokens = tokens});
    texts.push_back(MakeText(tokens + 1, tokens + 1, width));
  }
  const auto rows = static_cast<std::int64_t>(texts.size());
  const at::Tensor queries = Random({rows, 150, kHeads, width}, at::kBFloat16);
  const at::Tensor together = Attend(queries, texts);
  EXPECT_TRUE(together.isfinite().all().item<bool>());
  for (std::int64_t row = 0; row < rows; ++row) {
    const at::Tensor alone =
        Attend(queries.narrow(0, row, 1).contiguous(), {texts[row]});
    EXPECT_TRUE(at::equal(alone[0], together[row])) << row;
    // Nor does a token on those beside it.
    const at::Tensor few = Attend(
        queries.narrow(0, row, 1).narrow(1, 100, 7).contiguous(), {texts[row]});
    EXPECT_TRUE(at::equal(few[0], together[row].narrow(0, 100, 7))) << row;
  }
}

TEST_P(CrossAttentionTest, WhatIsNotFiniteFailsItsOwnRowAlone) {
  const int width = GetParam();
  std::vector<Text> texts = {MakeText(40, 40, width), MakeText(40, 40, width),
                             MakeText(40, 40, width)};
  const at::Tensor queries = Random({3, 33, kHeads, width}, at::kBFloat16);
  const at::Tensor before = Attend(queries, texts);
  for (const float broken : {NAN, INFINITY}) {
    for (const int part : {0, 1}) {
      texts[1] = MakeText(40, 40, width);
      texts[1].packed[kLayer][part].fill_(broken);
      const at::Tensor out = Attend(queries, texts);
      EXPECT_FALSE(out[1].isfinite().any().item<bool>()) << part;
      EXPECT_TRUE(at::equal(out[0], before[0]));
      EXPECT_TRUE(at::equal(out[2], before[2]));
    }
  }
}

TEST_P(CrossAttentionTest, WithoutATextTheResultIsZero) {
  const int width = GetParam();
  const at::Tensor queries = Random({2, 20, kHeads, width}, at::kBFloat16);
  const std::vector<Text> texts = {{}, MakeText(5, 5, width)};
  const at::Tensor out = Attend(queries, texts);
  EXPECT_TRUE(out[0].eq(0).all().item<bool>());
  EXPECT_LT(RelativeError(out[1], Truth(queries[1], texts[1])), 6e-3);
}

TEST_P(CrossAttentionTest, RecordedLaunchServesWhateverTextsComeLater) {
  const int width = GetParam();
  const at::Tensor queries = Random({2, 65, kHeads, width}, at::kBFloat16);
  at::Tensor out = at::full_like(queries, NAN);
  at::Tensor table = TableOf({{}, {}});
  // Kernels are loaded when they are first launched, which cannot be recorded.
  kernels::Launch(WorkOf(queries, table, out), CurrentStream());
  at::cuda::CUDAGraph graph;
  {
    const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
    graph.capture_begin();
    kernels::Launch(WorkOf(queries, table, out), CurrentStream());
    graph.capture_end();
  }
  for (const int tokens : {1, 40, 512, 7}) {
    const std::vector<Text> texts = {MakeText(tokens, tokens + 2, width),
                                     MakeText(2 * tokens, 2 * tokens, width)};
    table.copy_(TableOf(texts));
    graph.replay();
    EXPECT_TRUE(at::equal(out, Attend(queries, texts))) << tokens;
    EXPECT_LT(RelativeError(out[1], Truth(queries[1], texts[1])), 6e-3);
  }
}

INSTANTIATE_TEST_SUITE_P(HeadWidths, CrossAttentionTest,
                         testing::Values(8, 16, 24, 32, 64, 96, 128, 256));

TEST(CrossAttentionShapeTest, OtherHeadWidthsAreRefused) {
  for (const int width : {4, 12, 264}) {
    kernels::CrossAttention work;
    work.rows = work.tokens = work.heads = 1;
    work.head_width = width;
    EXPECT_THROW(kernels::Launch(work, nullptr), kernels::CudaError);
  }
}

}  // namespace
}  // namespace heatkv::model
