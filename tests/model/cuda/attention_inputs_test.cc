// What surrounds attention on a GPU: who computes which tile, and that staging
// holds nothing that attention must not load.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "model/cuda/kernel_calls.h"
#include "model/kernels/deal_attention.h"
#include "tests/cache/random_case.h"
#include "tests/model/cuda/attention_dealing.h"

namespace heatkv::model {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

at::TensorOptions OnGpu(at::ScalarType dtype) {
  return at::TensorOptions(dtype).device(at::Device(at::kCUDA, 0));
}

TEST(DealAttentionTest, ListsAreThoseOfTheHostAndStagingBehindIsZero) {
  if (CudaDevices() == 0) GTEST_SKIP() << "no CUDA device";
  const c10::InferenceMode inference_mode;
  cache::Dice dice(35);
  for (int round = 0; round < 60; ++round) {
    const kernels::AttentionShape shape{
        .rows = dice.Int(1, 9),
        .heads = dice.Int(1, 16),
        .tokens = dice.Int(1, 2000),
        .blocks = round % 3 == 0 ? 132 : dice.Int(1, 256)};
    const kernels::AttentionWorkLayout layout(shape);
    const int layers = dice.Int(1, 4);
    const int begins = shape.sequences() + 1;
    const int stride = begins + dice.Int(0, 50);
    const int most_keys = round % 2 == 0 ? 5 : 4000;  // often equal, or not
    std::vector<std::int32_t> key_begin(layers * stride, -7);
    std::int32_t most_rows = 0;
    for (int layer = 0; layer < layers; ++layer) {
      std::int32_t row = 0;
      for (int i = 0; i < begins; ++i) {
        key_begin[layer * stride + i] = row;
        most_rows = std::max(most_rows, row);
        row += dice.Int(1, most_keys);
      }
    }
    const at::Tensor uploaded = Upload(key_begin);
    const int width = 8;
    const std::int64_t staging_rows = most_rows + dice.Int(0, 300);
    at::Tensor keys =
        at::full({staging_rows, width}, kNaN, OnGpu(at::kBFloat16));
    at::Tensor values = at::full_like(keys, kNaN);
    at::Tensor lists = at::full({layers, layout.size()}, -1, OnGpu(at::kInt));
    kernels::DealAttention deal;
    deal.key_begin = uploaded.const_data_ptr<int>();
    deal.layer_stride = stride;
    deal.layers = layers;
    deal.shape = shape;
    deal.work = lists.mutable_data_ptr<int>();
    deal.keys = keys.mutable_data_ptr();
    deal.values = values.mutable_data_ptr();
    deal.staging_rows = staging_rows;
    deal.head_width = width;
    kernels::Launch(deal, CurrentStream());
    at::Tensor zero = at::zeros({staging_rows}, at::TensorOptions(at::kBool));
    for (int layer = 0; layer < layers; ++layer) {
      const std::span<const std::int32_t> of_layer =
          std::span(key_begin).subspan(layer * stride, begins);
      const std::vector<std::int32_t> expected = DealAttention(shape, of_layer);
      const at::Tensor list = lists[layer].cpu();
      ASSERT_TRUE(std::equal(expected.begin(), expected.end(),
                             list.const_data_ptr<int>()))
          << "round " << round << ", layer " << layer;
      const std::int64_t end = of_layer.back();
      zero.narrow(0, end,
                  std::min<std::int64_t>(kernels::kKeyTile, staging_rows - end))
          .fill_(true);
    }
    for (const at::Tensor& staged : {keys, values}) {
      const at::Tensor is_zero = staged.cpu().eq(0);
      const at::Tensor is_nan = staged.cpu().isnan();
      const at::Tensor wanted = zero.unsqueeze(1).expand_as(is_zero);
      EXPECT_TRUE(at::equal(is_zero, wanted)) << "round " << round;
      EXPECT_TRUE(at::equal(is_nan, wanted.logical_not())) << "round " << round;
    }
  }
}

}  // namespace
}  // namespace heatkv::model
