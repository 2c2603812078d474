// What decoding in bands holds at once, counted on the CPU in images of the
// finest level, and against the plan.

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "model/memory_plan.h"
#include "model/vae/decoder.h"
#include "model/vae/residual_block.h"
#include "tests/model/allocation_peak.h"
#include "tests/model/random_model.h"

namespace heatkv::model {
namespace {

constexpr int kBits = 4;
constexpr int kSide = 64;  // of the codes
constexpr int kChannels = 32;

VaeSpec VaeOf(std::vector<int> multipliers) {
  VaeSpec spec;
  spec.base_channels = kChannels;
  spec.channel_multipliers = std::move(multipliers);
  spec.residual_blocks = 2;
  return spec;
}

std::unique_ptr<VaeDecoder> Load(const VaeSpec& spec) {
  const TemporaryFolder folder;
  WriteSafetensors(folder.File("w"), RandomVaeWeights(spec, kBits, 1));
  auto vae =
      VaeDecoder::Load(spec, kBits, *WeightStore::Open({folder.File("w")}, {}));
  HEATKV_CHECK_OK(vae.status());
  return *std::move(vae);
}

// Bytes at most at once.
std::int64_t Decode(const VaeDecoder& vae, int tile) {
  const at::Tensor codes = at::randn({1, kBits, kSide, kSide});
  const AllocationPeak peak;
  vae.Decode(codes, tile);
  return peak.bytes();
}

class VaeMemoryTest : public testing::Test {
 private:
  const c10::InferenceMode inference_mode_;
};

TEST_F(VaeMemoryTest, ThePeakOfAllocationsIsWhatWasThereAtOnce) {
  const at::Tensor before = at::empty({1000});
  const AllocationPeak peak;
  EXPECT_EQ(peak.bytes(), 0);
  at::Tensor first = at::empty({1000});
  first.reset();
  EXPECT_EQ(peak.bytes(), 4000);
  first = at::empty({500});
  const at::Tensor second = at::empty({750});
  EXPECT_EQ(peak.bytes(), 5000);
}

// The finest level's first block makes its input of the coarser level's image,
// which is half an image of the finest level, and changes channels.
TEST_F(VaeMemoryTest, DecodingInBandsHoldsTwoImagesOfTheFinestLevel) {
  const auto vae = Load(VaeOf({1, 2}));
  constexpr int kHeight = 2 * kSide;
  constexpr int kBands = 16;
  constexpr int kRows = kHeight / kBands;
  constexpr std::int64_t kRow = sizeof(float) * kChannels * kHeight;
  const std::int64_t taken = Decode(*vae, /*tile=*/32);
  // Two images, halos of all bands, and two bands.
  EXPECT_LE(taken, kRow * (2 * kHeight + 2 * (kBands - 1) + 2 * (kRows + 2)));
  EXPECT_GE(taken, kRow * 2 * kHeight);
}

TEST_F(VaeMemoryTest, TensorsOfADecodingTakeNoMoreThanPlanned) {
  for (const std::vector<int>& multipliers :
       {std::vector<int>{1, 2}, {2, 2}, {1, 4}}) {
    const VaeSpec spec = VaeOf(multipliers);
    const auto vae = Load(spec);
    // A library's copy, which is nothing beside images of true size.
    const std::int64_t most_weights = sizeof(float) * 9 * kChannels *
                                      kChannels * multipliers.back() *
                                      multipliers.back();
    for (const int tile : {0, 32, 64, 96}) {
      const std::int64_t planned =
          DecodingBytes(spec, {kSide, kSide}, tile, /*is_on_gpu=*/false);
      const std::int64_t taken = Decode(*vae, tile);
      EXPECT_LE(taken, planned + most_weights) << "tile " << tile;
      // Whole, libraries are planned to have what they do not tell torch of.
      EXPECT_GE(taken, (tile == 0 ? 0.5 : 0.7) * planned) << "tile " << tile;
    }
  }
}

at::Tensor Rows(const at::Tensor& image, RowBand band) {
  return image.narrow(2, band.first, band.rows());
}

// With an input four times as large as the result, of which nothing is kept.
TEST_F(VaeMemoryTest, AnInputThatIsMadeInBandsIsNeverThere) {
  constexpr int kInputs = 4 * kChannels;
  constexpr int kHeight = 96;
  constexpr int kWidth = 40;
  const TemporaryFolder folder;
  const auto small = [](at::IntArrayRef sizes) { return at::randn(sizes) / 8; };
  WriteSafetensors(
      folder.File("w"),
      {{"block.norm1.weight", at::randn({kInputs})},
       {"block.norm1.bias", at::randn({kInputs})},
       {"block.conv1.weight", small({kChannels, kInputs, 3, 3})},
       {"block.conv1.bias", at::randn({kChannels})},
       {"block.norm2.weight", at::randn({kChannels})},
       {"block.norm2.bias", at::randn({kChannels})},
       {"block.conv2.weight", small({kChannels, kChannels, 3, 3})},
       {"block.conv2.bias", at::randn({kChannels})},
       {"block.nin_shortcut.weight", small({kChannels, kInputs, 1, 1})},
       {"block.nin_shortcut.bias", at::randn({kChannels})}});
  WeightStore weights = *WeightStore::Open({folder.File("w")}, {});
  const ResidualBlock block =
      ResidualBlock::Take(weights, "block", kChannels, kInputs);
  const at::Tensor x = at::randn({1, kInputs, kHeight, kWidth})
                           .contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor whole = block(x.clone());
  const std::int64_t image = sizeof(float) * kChannels * kHeight * kWidth;
  for (const int rows : {1, 6, 7, 96}) {
    int bands_made = 0;
    const AllocationPeak peak;
    const at::Tensor result = block.InBands({.height = kHeight,
                                             .width = kWidth,
                                             .make =
                                                 [&](RowBand band) {
                                                   ++bands_made;
                                                   return Rows(x, band).clone();
                                                 }},
                                            rows * kWidth);
    const std::int64_t taken = peak.bytes();
    EXPECT_EQ(bands_made, 3 * ((kHeight + rows - 1) / rows));
    EXPECT_LT((result - whole).abs().max().item<double>(),
              1e-5 * whole.abs().max().item<double>())
        << rows;
    if (rows == 6) {
      EXPECT_LE(taken, 2.5 * image);
    }
  }
}

}  // namespace
}  // namespace heatkv::model
