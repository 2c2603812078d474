#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "absl/strings/str_replace.h"
#include "base/check.h"
#include "model/vae/convolution.h"
#include "model/vae/decoder.h"
#include "model/vae/pixels.h"
#include "model/vae/row_bands.h"
#include "model/weights/tensor_bytes.h"
#include "tests/model/random_model.h"

namespace heatkv::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

VaeSpec SmallVae() {
  VaeSpec spec;
  spec.base_channels = 32;
  spec.channel_multipliers = {1, 2};
  spec.residual_blocks = 2;
  return spec;
}

absl::StatusOr<std::unique_ptr<VaeDecoder>> LoadVae(
    const NamedTensors& weights) {
  const TemporaryFolder folder;
  WriteSafetensors(folder.File("vae.safetensors"), weights);
  return VaeDecoder::Load(
      SmallVae(), /*bits=*/4,
      *WeightStore::Open({folder.File("vae.safetensors")}, {}));
}

// The recording was made in float64 by torch (tools/make_model_goldens.py).
TEST(VaeDecoderTest, MatchesAFloat64Recording) {
  const auto golden =
      SafetensorsFile::Open("tests/golden/vae/golden.safetensors");
  ASSERT_TRUE(golden.ok()) << golden.status();
  VaeSpec spec = SmallVae();
  spec.residual_blocks = 1;
  const auto vae = VaeDecoder::Load(
      spec, /*bits=*/4,
      *WeightStore::Open({"tests/golden/vae/vae.safetensors"}, {}));
  ASSERT_TRUE(vae.ok()) << vae.status();
  const at::Tensor codes = CopyTensor(*golden, golden->tensors().at("codes"));
  const at::Tensor truth = CopyTensor(*golden, golden->tensors().at("decoded"));
  const at::Tensor decoded = (*vae)->Decode(codes);
  ASSERT_EQ(decoded.sizes(), truth.sizes());
  EXPECT_LT((decoded - truth).abs().max().item<double>() /
                truth.abs().max().item<double>(),
            1e-5);
}

TEST(VaeDecoderTest, DoublesTheSideWithEveryLevelButTheFinest) {
  const auto vae = LoadVae(RandomVaeWeights(SmallVae(), 4, 1));
  ASSERT_TRUE(vae.ok()) << vae.status();
  EXPECT_EQ((*vae)->Decode(at::randn({1, 4, 3, 5})).sizes(),
            (at::IntArrayRef{1, 3, 6, 10}));
}

TEST(DoublingConvolutionTest, IsADoublingAndAConvolution) {
  const TemporaryFolder folder;
  const at::Tensor weight = at::randn({6, 6, 3, 3});
  const at::Tensor bias = at::randn({6});
  WriteSafetensors(folder.File("w"),
                   {{"up.conv.weight", weight}, {"up.conv.bias", bias}});
  for (const bool in_parts : {false, true}) {
    WeightStore weights = *WeightStore::Open({folder.File("w")}, {});
    const auto doubling = DoublingConvolution::Take(weights, "up", 6, in_parts);
    ASSERT_TRUE(weights.Finish().ok());
    for (const auto& [height, width] : {std::pair(1, 1), {1, 4}, {5, 2}}) {
      const at::Tensor x = at::randn({1, 6, height, width})
                               .contiguous(at::MemoryFormat::ChannelsLast);
      const at::Tensor truth =
          at::conv2d(at::upsample_nearest2d(x, {2 * height, 2 * width}), weight,
                     bias, /*stride=*/1, /*padding=*/1);
      EXPECT_TRUE(at::allclose(doubling(x), truth, 1e-4, 1e-4));
      for (int first = 0; first < 2 * height; ++first) {
        for (int last = first + 1; last <= 2 * height; ++last) {
          EXPECT_TRUE(at::allclose(doubling.Band(x, {first, last}),
                                   truth.narrow(2, first, last - first), 1e-4,
                                   1e-4))
              << first << " to " << last << " of " << 2 * height;
        }
      }
    }
  }
}

TEST(RowBandsTest, AreAsFewAsStayBelowTheBound) {
  EXPECT_THAT(RowBands(1024, 1024, 256 * 256), SizeIs(16));
  EXPECT_THAT(RowBands(10, 7, 21), ElementsAre(RowBand{0, 3}, RowBand{3, 6},
                                               RowBand{6, 9}, RowBand{9, 10}));
  EXPECT_THAT(RowBands(10, 7, 70), ElementsAre(RowBand{0, 10}));
  EXPECT_THAT(RowBands(3, 7, 1), SizeIs(3));
  EXPECT_EQ((RowBand{0, 3}.WithHalo(10)), (RowBand{0, 4}));
  EXPECT_EQ((RowBand{9, 10}.WithHalo(10)), (RowBand{8, 10}));
}

// Levels of two and of one doubling, with a change of channels and without one.
std::unique_ptr<VaeDecoder> ThreeLevels() {
  VaeSpec spec = SmallVae();
  spec.channel_multipliers = {1, 2, 2};
  const TemporaryFolder folder;
  WriteSafetensors(folder.File("w"), RandomVaeWeights(spec, 4, 1));
  auto vae =
      VaeDecoder::Load(spec, 4, *WeightStore::Open({folder.File("w")}, {}));
  HEATKV_CHECK_OK(vae.status());
  return *std::move(vae);
}

TEST(VaeDecoderTest, InBandsThePictureIsThatOfTheWholeImage) {
  const std::unique_ptr<VaeDecoder> vae = ThreeLevels();
  for (const auto& [height, width] : {std::pair(5, 7), {1, 3}}) {
    const at::Tensor codes = at::randn({1, 4, height, width});
    const at::Tensor whole = vae->Decode(codes);
    const double scale = whole.abs().max().item<double>();
    EXPECT_TRUE(at::equal(vae->Decode(codes, 1000), whole));
    for (const int tile : {1, 5, 11, 16}) {
      const at::Tensor bands = vae->Decode(codes, tile);
      ASSERT_EQ(bands.sizes(), whole.sizes());
      EXPECT_LT((bands - whole).abs().max().item<double>() / scale, 1e-5)
          << height << " x " << width << " in bands of " << tile << " squared";
    }
  }
}

TEST(VaeDecoderTest, InTwoPartsThePictureIsTheSame) {
  const std::unique_ptr<VaeDecoder> vae = ThreeLevels();
  // Levels of 35, 140 and 560 pixels.
  for (const auto& [pixels, levels] : {std::pair(34, 0),
                                       {35, 1},
                                       {139, 1},
                                       {140, 2},
                                       {559, 2},
                                       {560, 3},
                                       {1 << 20, 3}}) {
    EXPECT_EQ(vae->LevelsUpTo(5, 7, pixels), levels) << pixels;
  }
  const at::Tensor codes = at::randn({1, 4, 5, 7});
  for (const int tile : {0, 15}) {
    const at::Tensor picture = vae->Decode(codes, tile);
    for (int levels = 0; levels <= (tile == 0 ? 3 : 2); ++levels) {
      const at::Tensor x = vae->Begin(codes, levels);
      EXPECT_EQ(x.size(2), levels == 0 ? 5 : 5 << (levels - 1));
      EXPECT_TRUE(at::equal(vae->Finish(x, levels, tile), picture))
          << levels << " levels, tile " << tile;
    }
  }
}

TEST(VaeDecoderTest, AcceptsLegacyNamesEncodersAndMasks) {
  const NamedTensors weights = RandomVaeWeights(SmallVae(), 4, 1);
  NamedTensors legacy;
  for (const auto& [name, tensor] : weights) {
    legacy[absl::StrReplaceAll(name, {{".conv.weight", ".weight"},
                                      {".conv.bias", ".bias"},
                                      {".norm.weight", ".weight"},
                                      {".norm.bias", ".bias"}})] = tensor;
  }
  // The upsampling layer is itself called "conv": only its wrapper goes.
  for (const char* part : {"weight", "bias"}) {
    const std::string name = "decoder.up.1.upsample.";
    legacy.erase(name + part);
    legacy[name + "conv." + part] = weights.at(name + "conv.conv." + part);
  }
  legacy["encoder.conv_in.conv.weight"] = at::zeros({3});
  legacy["quantizer.lfq.mask"] = at::zeros({4}, at::kLong);
  const auto old_vae = LoadVae(legacy);
  ASSERT_TRUE(old_vae.ok()) << old_vae.status();
  const at::Tensor codes = at::randn({1, 4, 2, 2});
  EXPECT_TRUE(
      at::equal((*old_vae)->Decode(codes), (*LoadVae(weights))->Decode(codes)));
}

TEST(VaeDecoderTest, NamesWhatDoesNotBelong) {
  NamedTensors weights = RandomVaeWeights(SmallVae(), 4, 1);
  weights.erase("decoder.up.0.block.0.nin_shortcut.conv.weight");
  weights["decoder.up.2.block.0.conv1.conv.weight"] = at::zeros({1});
  const absl::Status status = LoadVae(weights).status();
  EXPECT_THAT(status.message(),
              HasSubstr("'decoder.up.0.block.0.nin_shortcut.conv.weight' of "
                        "shape [32, 64, 1, 1] is missing"));
  EXPECT_THAT(status.message(), HasSubstr("decoder.up.2.block.0.conv1"));
}

TEST(PixelsTest, AreClampedAndTruncated) {
  const at::Tensor decoded =
      at::tensor({-2.0f, -1.0f, 0.0f, 0.999f, 1.0f, 7.0f}).view({1, 3, 1, 2});
  const at::Tensor pixels = PixelsOf(decoded);
  ASSERT_EQ(pixels.sizes(), (at::IntArrayRef{1, 2, 3}));
  // (0 + 1) / 2 * 255 = 127.5 and (0.999 + 1) / 2 * 255 = 254.87.
  EXPECT_TRUE(at::equal(
      pixels,
      at::tensor({0, 127, 255, 0, 254, 255}).to(at::kByte).view({1, 2, 3})));
}

}  // namespace
}  // namespace heatkv::model
