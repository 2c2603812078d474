// What decoding in bands holds at once, counted on the CPU in images of the
// finest level, and against the plan.

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "model/vae/decoder.h"
#include "model/vae/decoding_bytes.h"
#include "model/vae/image_in_bands.h"
#include "model/vae/residual_block.h"
#include "tests/model/allocation_peak.h"
#include "tests/model/random_model.h"

namespace heatkv::model {
namespace {

constexpr int kBits = 4;
constexpr int kSide = 96;  // of the codes
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
  constexpr std::int64_t kRow = sizeof(float) * kChannels * kHeight;
  // Half as many rows as elsewhere, because they have twice the channels.
  constexpr int kRows = 12;
  constexpr int kBands = kHeight / kRows;
  const std::int64_t taken = Decode(*vae, /*tile=*/68);
  // Two images, halos of all bands, and a band of the input, of whole doubles
  // with what these see, and the doubled rows that it is made of on the CPU.
  // The coarser level's image would be kHeight / 2 rows more.
  EXPECT_LE(taken,
            kRow * (2 * kHeight + 2 * (kBands - 1) + 2 * 2 * (kRows + 8)));
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

// An image that is there, of which bands are copied.
class CopiedImage : public ImageInBands {
 public:
  explicit CopiedImage(at::Tensor image) : image_(std::move(image)) {}
  std::int64_t height() const override { return image_.size(2); }
  std::int64_t width() const override { return image_.size(3); }
  at::Tensor Make(RowBand band) override {
    (bands_.has_value() ? made_once_ : made_).push_back(band);
    return image_.narrow(2, band.first, band.rows()).clone();
  }
  void MakeOnlyOnce(const std::vector<RowBand>& bands) override {
    HEATKV_CHECK(!bands_.has_value());
    bands_ = bands;
  }

  // What was asked for before it was said what will be, that, and what was
  // then.
  const std::vector<RowBand>& made() const { return made_; }
  const std::vector<RowBand>& announced() const { return *bands_; }
  const std::vector<RowBand>& made_once() const { return made_once_; }

 private:
  at::Tensor image_;
  std::optional<std::vector<RowBand>> bands_;
  std::vector<RowBand> made_;
  std::vector<RowBand> made_once_;
};

// With an input four times as large as the result, of which nothing is kept.
TEST_F(VaeMemoryTest, AnInputThatIsMadeInBandsIsNeverThere) {
  constexpr int kInputs = 4 * kChannels;
  constexpr int kHeight = 192;
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
  for (const int rows : {1, 6, 48, 50, 192}) {
    CopiedImage given(x);
    const AllocationPeak peak;
    const at::Tensor result = block.InBands(given, rows * kWidth);
    const std::int64_t taken = peak.bytes();
    EXPECT_EQ(given.made(), RowBands(kHeight, kWidth, rows * kWidth));
    EXPECT_EQ(given.made_once(), given.announced());
    EXPECT_LT((result - whole).abs().max().item<double>(),
              1e-5 * whole.abs().max().item<double>())
        << rows;
    if (rows == 48) {
      // Two images, halos of bands of a quarter of the rows, and one of the
      // input, which a library may copy as it does the weights.
      const int bands = kHeight / 12;
      const std::int64_t row = image / kHeight;
      EXPECT_EQ(given.made_once().size(), bands);
      EXPECT_LE(taken,
                row * (2 * kHeight + 2 * (bands - 1) + 2 * 4 * (12 + 2)) +
                    sizeof(float) * 9 * kInputs * kChannels);
    }
  }
}

TEST_F(VaeMemoryTest, ACoarseImageGoesWithTheBandsThatAreMadeOfIt) {
  const TemporaryFolder folder;
  WriteSafetensors(folder.File("w"),
                   {{"up.weight", at::randn({kChannels, kChannels, 3, 3})},
                    {"up.bias", at::randn({kChannels})}});
  for (const bool in_parts : {false, true}) {
    WeightStore weights = *WeightStore::Open({folder.File("w")}, {});
    const auto doubling =
        DoublingConvolution::Take(weights, "up", kChannels, in_parts);
    constexpr std::int64_t kHeight = 37;
    constexpr std::int64_t kRow = sizeof(float) * kChannels * 30;
    const at::Tensor image = at::randn({1, kChannels, kHeight, 30})
                                 .contiguous(at::MemoryFormat::ChannelsLast);
    const at::Tensor whole = doubling(image);
    std::vector<RowBand> bands;
    for (const RowBand band : RowBands(2 * kHeight, 60, 7 * 60)) {
      bands.push_back(band.WithHalo(2 * kHeight));
    }
    const AllocationPeak peak;
    DoubledImage doubled(&doubling, image.clone());
    EXPECT_EQ(doubled.height(), 2 * kHeight);
    EXPECT_EQ(doubled.width(), 60);
    EXPECT_TRUE(at::allclose(doubled.Make({3, 30}), whole.narrow(2, 3, 27),
                             1e-4, 1e-4));
    const std::int64_t before = peak.now();
    doubled.MakeOnlyOnce(bands);
    // A band of nine rows is made of seven, for which the coarse image went.
    EXPECT_LE(peak.now() - before,
              kRow * (7 * static_cast<std::int64_t>(bands.size()) - kHeight));
    for (const RowBand band : bands) {
      EXPECT_TRUE(at::allclose(doubled.Make(band),
                               whole.narrow(2, band.first, band.rows()), 1e-4,
                               1e-4));
    }
    EXPECT_EQ(peak.now(), 0);
  }
}

}  // namespace
}  // namespace heatkv::model
