// The VAE on a GPU: its kernels against float64, a picture in bands against the
// whole one, both against the CPU's in float32, and memory against the plan.

#include <ATen/ATen.h>
#include <c10/cuda/CUDAFunctions.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <utility>

#include "base/check.h"
#include "model/cuda/image_calls.h"
#include "model/cuda/kernel_calls.h"
#include "model/cuda/memory_report.h"
#include "model/vae/convolution.h"
#include "model/vae/decoder.h"
#include "model/vae/decoding_bytes.h"
#include "model/vae/group_norm.h"
#include "tests/model/cuda/kernel_inputs.h"
#include "tests/model/infinity_2b.h"
#include "tests/model/random_model.h"

namespace heatkv::model {
namespace {

constexpr auto kChannelsLast = at::MemoryFormat::ChannelsLast;

at::Tensor Random(at::IntArrayRef sizes, int seed) {
  return at::randn(sizes, at::detail::createCPUGenerator(seed),
                   at::TensorOptions(at::kFloat));
}

class VaeOnGpuTest : public testing::Test {
 protected:
  void SetUp() override {
    if (CudaDevices() == 0) GTEST_SKIP() << "no CUDA device";
  }
  static WeightStore::Options On(at::Device device) {
    return {.device = device,
            .dtype = at::kFloat,
            .matrix_dtype = device.is_cpu() ? at::kFloat : at::kBFloat16};
  }
  static at::Device Gpu() { return at::Device(at::kCUDA, 0); }
  const c10::InferenceMode inference_mode_;
};

TEST_F(VaeOnGpuTest, AnImageIsNormalisedInBandsAsItIsWhole) {
  for (const int channels : {32, 128, 512}) {
    const at::Tensor x = (Random({1, channels, 37, 19}, 1) * 3 + 2)
                             .to(Gpu(), at::kBFloat16)
                             .contiguous(kChannelsLast);
    const GroupNorm norm = {.weight = Random({channels}, 2).to(Gpu()),
                            .bias = Random({channels}, 3).to(Gpu())};
    const at::Tensor some_bias = Random({channels}, 4).to(Gpu());
    for (const at::Tensor& input_bias : {at::Tensor(), some_bias}) {
      at::Tensor biased = x.cpu().to(at::kDouble);
      if (input_bias.defined()) {
        biased += input_bias.cpu().to(at::kDouble).view({1, -1, 1, 1});
      }
      const at::Tensor truth =
          at::silu(at::group_norm(biased, 32, norm.weight.cpu().to(at::kDouble),
                                  norm.bias.cpu().to(at::kDouble), 1e-6));
      const at::Tensor whole = norm.Consume(x.clone(kChannelsLast), input_bias);
      EXPECT_LT(RelativeError(whole, truth), 4e-3);
      if (!input_bias.defined()) {
        EXPECT_TRUE(at::equal(norm(x), whole));
      }
      GroupSums sums;
      for (const auto& [first, last] : {std::pair(0, 5), {5, 36}, {36, 37}}) {
        sums.Add(x.narrow(2, first, last - first), input_bias);
      }
      const at::Tensor statistics = sums.Statistics();
      const at::Tensor kept = x.clone(kChannelsLast);
      for (const auto& [first, last] : {std::pair(0, 37), {0, 1}, {7, 30}}) {
        const at::Tensor rows = x.narrow(2, first, last - first);
        const at::Tensor expected = whole.narrow(2, first, last - first);
        const at::Tensor mine =
            norm.Rows(rows, input_bias, statistics, /*may_write=*/false);
        EXPECT_LT(RelativeError(mine, expected), 1e-3) << channels;
        EXPECT_TRUE(at::equal(x, kept));
        at::Tensor copy = rows.clone(kChannelsLast);
        EXPECT_TRUE(at::equal(
            norm.Rows(copy, input_bias, statistics, /*may_write=*/true), mine));
        EXPECT_TRUE(at::equal(copy, mine));
      }
    }
  }
}

TEST_F(VaeOnGpuTest, InterleavingWritesOnePositionOfFour) {
  const int channels = 40;
  const at::Tensor x = Random({1, channels, 6, 8}, 1)
                           .to(Gpu(), at::kBFloat16)
                           .contiguous(kChannelsLast);
  const at::Tensor bias = Random({channels}, 2).to(Gpu());
  for (const int row : {0, 1}) {
    for (const int column : {0, 1}) {
      at::Tensor out = at::zeros({1, channels, 10, 14}, x.options())
                           .contiguous(kChannelsLast);
      CudaInterleave(x, bias, row, column, out);
      at::Tensor truth = at::zeros_like(out);
      truth.slice(2, row, std::nullopt, 2)
          .slice(3, column, std::nullopt, 2)
          .copy_(x.narrow(2, row, 5).narrow(3, column, 7).to(at::kFloat) +
                 bias.view({1, -1, 1, 1}));
      EXPECT_TRUE(at::equal(out, truth)) << row << ", " << column;
    }
  }
}

TEST_F(VaeOnGpuTest, DoublingInPartsIsADoublingAndAConvolution) {
  const int channels = 64;
  const TemporaryFolder folder;
  const at::Tensor weight = Random({channels, channels, 3, 3}, 1) / 24;
  const at::Tensor bias = Random({channels}, 2);
  WriteSafetensors(folder.File("w"),
                   {{"up.conv.weight", weight}, {"up.conv.bias", bias}});
  WeightStore weights = *WeightStore::Open({folder.File("w")}, On(Gpu()));
  const auto doubling =
      DoublingConvolution::Take(weights, "up", channels, /*in_parts=*/true);
  const at::Tensor x = Random({1, channels, 9, 13}, 3).to(at::kBFloat16);
  const at::Tensor truth =
      at::conv2d(at::upsample_nearest2d(x.to(at::kFloat), {18, 26}), weight,
                 bias, /*stride=*/1, /*padding=*/1);
  const at::Tensor on_gpu = x.to(Gpu()).contiguous(kChannelsLast);
  EXPECT_LT(RelativeError(doubling(on_gpu), truth), 5e-3);
  for (const auto& [first, last] :
       {std::pair(0, 1), {0, 7}, {5, 18}, {17, 18}}) {
    EXPECT_LT(RelativeError(doubling.Band(on_gpu, {first, last}),
                            truth.narrow(2, first, last - first)),
              5e-3);
  }
}

TEST_F(VaeOnGpuTest, APictureInBandsIsTheWholeOneAndTheCpus) {
  VaeSpec spec;
  spec.base_channels = 32;
  spec.channel_multipliers = {1, 2, 2};
  spec.residual_blocks = 2;
  const TemporaryFolder folder;
  WriteSafetensors(folder.File("w"), RandomVaeWeights(spec, 8, 1));
  const auto load = [&](at::Device device) {
    auto vae = VaeDecoder::Load(
        spec, 8, *WeightStore::Open({folder.File("w")}, On(device)));
    HEATKV_CHECK_OK(vae.status());
    return *std::move(vae);
  };
  const auto cpu = load(at::kCPU);
  const auto gpu = load(Gpu());
  for (const auto& [height, width] : {std::pair(12, 12), {5, 17}}) {
    const at::Tensor codes = Random({1, 8, height, width}, 4);
    const at::Tensor truth = cpu->Decode(codes);
    const at::Tensor whole = gpu->Decode(codes.to(Gpu()));
    std::printf("%d x %d: relative error %.2e whole", height, width,
                RelativeError(whole, truth));
    EXPECT_LT(RelativeError(whole, truth), 4e-2);
    for (const int tile : {1, 11, 30}) {
      const at::Tensor bands = gpu->Decode(codes.to(Gpu()), tile);
      std::printf(", %.2e in bands of %d", RelativeError(bands, truth), tile);
      EXPECT_LT(RelativeError(bands, truth), 4e-2);
      EXPECT_LT(RelativeError(bands, whole), 2e-2);
      EXPECT_TRUE(at::equal(gpu->Decode(codes.to(Gpu()), tile), bands));
    }
    std::printf("\n");
  }
}

TEST_F(VaeOnGpuTest, AMegapixelTakesNoMoreMemoryThanPlanned) {
  const VaeSpec spec = Infinity2b().vae;
  auto vae = VaeDecoder::Load(spec, 32,
                              WeightStore::Random(1, /*blocks=*/0, On(Gpu())));
  ASSERT_TRUE(vae.ok()) << vae.status();
  const at::Tensor codes = Random({1, 32, 64, 64}, 4).to(Gpu());
  at::Tensor whole;
  for (const int tile : {0, 512, 256}) {
    (*vae)->Decode(codes, tile);  // what libraries keep is theirs
    ReleaseUnusedMemory();
    const std::int64_t before = ReadMemory(0).allocated;
    ResetMemoryPeaks(0);
    const at::Tensor picture = (*vae)->Decode(codes, tile);
    const std::int64_t taken = ReadMemory(0).peak_allocated - before;
    const std::int64_t planned = DecodingBytes(spec, {64, 64}, tile, true);
    c10::cuda::device_synchronize();
    const auto begin = std::chrono::steady_clock::now();
    constexpr int kTimes = 5;
    for (int i = 0; i < kTimes; ++i) (*vae)->Decode(codes, tile);
    c10::cuda::device_synchronize();
    std::printf("tile %d: %.0f MB of %.0f MB planned, %.1f ms\n", tile,
                taken / 1e6, planned / 1e6, Milliseconds(begin) / kTimes);
    // A convolution's work space is the libraries'.
    EXPECT_LE(taken, planned + (64 << 20));
    EXPECT_GE(taken, 0.7 * planned);
    if (tile == 0) {
      whole = picture;
    } else {
      EXPECT_LT(RelativeError(picture, whole), 3e-2);
      EXPECT_LE(taken, tile == 256 ? 620e6 : 680e6);
    }
  }
}

}  // namespace
}  // namespace heatkv::model
