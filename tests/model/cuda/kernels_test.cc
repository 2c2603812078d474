// Kernels against float64 or against torch's operators on the CPU, on fresh
// random inputs of shapes that no block size divides.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/cuda/kernel_calls.h"
#include "model/kernels/residual_norm.h"
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
