#include "model/text/t5_encoder.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/text/relative_position.h"
#include "model/text/token_buckets.h"
#include "model/weights/tensor_bytes.h"

namespace heatkv::model {
namespace {

using testing::HasSubstr;

// The configuration in tools/make_text_goldens.py.
TextEncoderSpec GoldenSpec() {
  TextEncoderSpec spec;
  spec.vocabulary = 160;
  spec.width = 24;
  spec.heads = 3;
  spec.head_width = 8;
  spec.layers = 2;
  spec.mlp_width = 40;
  return spec;
}

// Features by transformers' T5EncoderModel, of the same random weights.
TEST(T5EncoderTest, MatchesTheTransformersLibrary) {
  const auto encoder = T5Encoder::Load(
      GoldenSpec(),
      *WeightStore::Open({"tests/golden/text/t5_weights.safetensors"}, {}));
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  const auto goldens =
      SafetensorsFile::Open("tests/golden/text/t5_features.safetensors");
  ASSERT_TRUE(goldens.ok()) << goldens.status();
  // 150 tokens reach beyond the last bucket's distance of 128.
  for (const int tokens : {1, 9, 150}) {
    const auto golden = [&](const char* name) {
      return CopyTensor(*goldens,
                        goldens->tensors().at(absl::StrCat(name, ".", tokens)));
    };
    const at::Tensor ids = golden("ids");
    const at::Tensor truth = golden("features");
    const auto* begin = ids.const_data_ptr<std::int64_t>();
    const at::Tensor mine =
        (*encoder)->Encode(std::vector<int>(begin, begin + tokens));
    ASSERT_EQ(mine.sizes(), truth.sizes());
    EXPECT_LT((mine - truth).abs().max().item<double>() /
                  truth.abs().max().item<double>(),
              1e-5)
        << tokens;
  }
}

// As a CPU computes that helps a GPU.
TEST(T5EncoderTest, InBfloat16TheFeaturesAreThoseOfFloat32ButForRounding) {
  const auto load = [](at::ScalarType dtype) {
    return *T5Encoder::Load(
        GoldenSpec(),
        *WeightStore::Open({"tests/golden/text/t5_weights.safetensors"},
                           {.matrix_dtype = dtype}));
  };
  const auto encoder = load(at::kFloat);
  const auto reduced = load(at::kBFloat16);
  const std::vector<int> ids = {5, 17, 159, 3, 88, 1};
  const at::Tensor truth = encoder->Encode(ids);
  const at::Tensor mine = reduced->Encode(ids);
  EXPECT_EQ(mine.scalar_type(), at::kFloat);
  const double error = ((mine - truth).norm() / truth.norm()).item<double>();
  EXPECT_GT(error, 0);
  EXPECT_LT(error, 0.02);
}

TEST(T5EncoderTest, PaddingThatIsHiddenChangesNothing) {
  const auto encoder = *T5Encoder::Load(
      GoldenSpec(),
      *WeightStore::Open({"tests/golden/text/t5_weights.safetensors"}, {}));
  const std::vector<int> ids = {5, 17, 159, 3, 88, 1};
  const at::Tensor truth = encoder->Encode(ids);
  const auto padded = [&](int rows, int padding, double bias_of_padding) {
    std::vector<int> all = ids;
    all.resize(rows, padding);
    at::Tensor bias =
        encoder->PositionBias(150).narrow(2, 0, rows).narrow(3, 0, rows);
    bias = bias.masked_fill(at::arange(rows) >= 6, bias_of_padding);
    return encoder->Encode(at::tensor(all, at::kInt), bias).narrow(0, 0, 6);
  };
  for (const int rows : {6, 7, 32}) {
    for (const int padding : {0, 42}) {
      EXPECT_TRUE(
          at::allclose(padded(rows, padding, -INFINITY), truth, 1e-4, 1e-5))
          << rows << " rows of " << padding;
    }
  }
  EXPECT_FALSE(at::allclose(padded(7, 0, 0), truth, 1e-2, 1e-2));
}

TEST(TokenBucketTest, EveryTextHasTheSmallestPowerOfTwoThatHoldsIt) {
  EXPECT_EQ(TokenBucket(1), 32);
  EXPECT_EQ(TokenBucket(32), 32);
  EXPECT_EQ(TokenBucket(33), 64);
  EXPECT_EQ(TokenBucket(512), 512);
  EXPECT_THAT(TokenBuckets(512), testing::ElementsAre(32, 64, 128, 256, 512));
  EXPECT_THAT(TokenBuckets(77), testing::ElementsAre(32, 64, 128));
  EXPECT_THAT(TokenBuckets(24), testing::ElementsAre(32));
}

TEST(T5EncoderTest, RefusesAnotherModelsWeights) {
  TextEncoderSpec spec = GoldenSpec();
  spec.layers = 1;
  spec.mlp_width = 48;
  const absl::Status status =
      T5Encoder::Load(
          spec,
          *WeightStore::Open({"tests/golden/text/t5_weights.safetensors"}, {}))
          .status();
  EXPECT_THAT(status.message(),
              HasSubstr("encoder.block.0.layer.1.DenseReluDense.wi_0.weight"));
  EXPECT_THAT(status.message(), HasSubstr("[40, 24], expected [48, 24]"));
  EXPECT_THAT(status.message(), HasSubstr("encoder.block.1"));
}

TEST(RelativePositionTest, BucketsAreTheSpecificationsFormula) {
  const int tokens = 300;
  const at::Tensor buckets = RelativePositionBuckets(tokens, 32, 128);
  for (int query = 0; query < tokens; query += 7) {
    for (int key = 0; key < tokens; ++key) {
      const int distance = std::abs(key - query);
      // Powers of two lie on borders, where the float32 rounding counts.
      if (distance >= 8 && (distance & (distance - 1)) == 0) continue;
      const int far = std::min(
          15,
          8 + static_cast<int>(std::log(distance / 8.0) / std::log(16.0) * 8));
      EXPECT_EQ(buckets[query][key].item<int>(),
                (key > query ? 16 : 0) + (distance < 8 ? distance : far))
          << query << ", " << key;
    }
  }
}

}  // namespace
}  // namespace heatkv::model
