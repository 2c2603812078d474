// Kernels against float64 or against torch's operators on the CPU, on fresh
// random inputs of shapes that no block size divides.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "model/cuda/kernel_calls.h"
#include "model/infinity/rope2d.h"
#include "model/kernels/residual_norm.h"
#include "model/kernels/rotate_scatter.h"
#include "tests/model/cuda/kernel_inputs.h"

namespace heatkv::model {
namespace {

TEST_P(KernelsTest, ResidualNormAddsNormalisesAndModulates) {
  const int width = GetParam();
  const int rows = 3;
  // A token a block, and many.
  for (const int tokens : {37, 1501}) {
    at::Tensor x = Random({rows, tokens, width});
    const at::Tensor before = Double(x);
    const at::Tensor added = Random({rows, tokens, width}, at::kBFloat16);
    const at::Tensor layer = Random({3, width});
    const at::Tensor text = Random({rows, 3, width});
    at::Tensor out = at::full({rows, tokens, width}, NAN, added.options());
    const auto part = [&](int i) {
      return kernels::RowVector{
          .layer = layer.const_data_ptr<float>() + i * width,
          .rows = text.const_data_ptr<float>() + i * width,
          .row_stride = 3 * width};
    };
    kernels::ResidualNorm work;
    work.x = x.mutable_data_ptr<float>();
    work.added = added.const_data_ptr();
    work.gated = true;
    work.gate = part(0);
    work.offset = 1;
    work.scale = part(1);
    work.shift = part(2);
    work.epsilon = 1e-6f;
    work.out_bf16 = out.mutable_data_ptr();
    work.rows = rows;
    work.tokens = tokens;
    work.width = width;
    kernels::Launch(work, CurrentStream());
    const at::Tensor m =
        (Double(layer).unsqueeze(0) + Double(text)).unsqueeze(1);
    const at::Tensor sum = before + m.select(2, 0) * Double(added);
    const at::Tensor normed = at::layer_norm(sum, {width}, {}, {}, 1e-6);
    EXPECT_LT(RelativeError(x, sum), 1e-6);
    EXPECT_LT(
        RelativeError(out, normed * (1 + m.select(2, 1)) + m.select(2, 2)),
        3e-3);

    // Without a branch, into float32.
    at::Tensor wide = at::full({rows, tokens, width}, NAN, x.options());
    work.added = nullptr;
    work.out_bf16 = nullptr;
    work.out_float = wide.mutable_data_ptr<float>();
    kernels::Launch(work, CurrentStream());
    EXPECT_LT(RelativeError(x, sum), 1e-6);
    EXPECT_LT(
        RelativeError(wide, normed * (1 + m.select(2, 1)) + m.select(2, 2)),
        2e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, KernelsTest,
                         testing::Values(64, 320, 2048, 3584));

using HeadWidthTest = KernelsTest;

TEST_P(HeadWidthTest, RotateScatterNormalisesTurnsAndStages) {
  const int head_width = GetParam();
  const int rows = 2;
  const int heads = 5;
  const cache::Grid grid{3, 7};
  const int tokens = static_cast<int>(grid.tokens());
  const at::Tensor product =
      Random({rows, tokens, 3, heads, head_width}, at::kBFloat16);
  const at::Tensor scale = Random({heads}).abs() + 1;
  const at::Tensor rotations =
      RopeRotations(grid, {9, 14}, head_width, at::kCPU);
  const at::Tensor turns =
      at::view_as_real(rotations).contiguous().to(at::kCUDA);
  std::vector<std::int32_t> current;
  for (int i = 0; i < rows * heads; ++i)
    current.push_back(i * (tokens + i) + 2);
  const at::Tensor uploaded = Upload(current);
  const auto options = product.options();
  at::Tensor queries =
      at::full({rows, heads, tokens, head_width}, NAN, options);
  at::Tensor keys =
      at::full({current.back() + tokens + 3, head_width}, 7.0, options);
  at::Tensor values = keys.clone();
  kernels::RotateScatter work;
  work.product = product.const_data_ptr();
  work.query_scale = scale.const_data_ptr<float>();
  work.rotations = turns.const_data_ptr<float>();
  work.current = uploaded.const_data_ptr<int>();
  work.queries = queries.mutable_data_ptr();
  work.keys = keys.mutable_data_ptr();
  work.values = values.mutable_data_ptr();
  work.rows = rows;
  work.tokens = tokens;
  work.heads = heads;
  work.head_width = head_width;
  kernels::Launch(work, CurrentStream());

  const at::Tensor all = product.cpu().to(at::kFloat).permute({2, 0, 3, 1, 4});
  const auto unit = [](const at::Tensor& x) {
    return x / x.norm(2, {-1}, /*keepdim=*/true).clamp_min(1e-12);
  };
  const at::Tensor q =
      Rotate(unit(all[0]) * scale.cpu().view({1, heads, 1, 1}), rotations);
  const at::Tensor k = Rotate(unit(all[1]), rotations);
  EXPECT_LT(RelativeError(queries, q), 3e-3);
  for (int row = 0; row < rows; ++row) {
    for (int head = 0; head < heads; ++head) {
      const int first = current[row * heads + head];
      EXPECT_LT(RelativeError(keys.narrow(0, first, tokens), k[row][head]),
                3e-3);
      EXPECT_EQ(
          RelativeError(values.narrow(0, first, tokens), all[2][row][head]), 0);
      // What lies before the current scale was left alone.
      EXPECT_TRUE(keys[first - 1].eq(7).all().item<bool>());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, HeadWidthTest,
                         testing::Values(8, 16, 32, 64, 96, 128, 256));

using ChannelsTest = KernelsTest;

TEST_P(ChannelsTest, GroupNormSwishIsThatOfFloat64) {
  const int channels = GetParam();
  const at::Tensor x =
      (Random({1, channels, 33, 19}) * 3 + 2).to(at::kBFloat16);
  const at::Tensor weight = Random({channels});
  const at::Tensor bias = Random({channels});
  const at::Tensor before = Random({channels});
  const at::Tensor mine =
      CudaGroupNormSwish(x, before, weight, bias, 32, 1e-6, /*in_place=*/false);
  const at::Tensor truth = at::silu(
      at::group_norm(Double(x) + Double(before).view({1, channels, 1, 1}), 32,
                     Double(weight), Double(bias), 1e-6));
  EXPECT_TRUE(mine.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_LT(RelativeError(mine, truth), 4e-3);
  at::Tensor again = x.contiguous(at::MemoryFormat::ChannelsLast).clone();
  CudaGroupNormSwish(again, before, weight, bias, 32, 1e-6, /*in_place=*/true);
  EXPECT_TRUE(at::equal(mine, again));

  CudaAddBias(again, before, x);
  EXPECT_LT(RelativeError(again, Double(mine) + Double(x) +
                                     Double(before).view({1, channels, 1, 1})),
            4e-3);
}

INSTANTIATE_TEST_SUITE_P(Channels, ChannelsTest,
                         testing::Values(32, 64, 128, 256, 512));

}  // namespace
}  // namespace heatkv::model
