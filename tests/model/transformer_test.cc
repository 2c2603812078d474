#include "model/infinity/transformer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/infinity/block_names.h"
#include "tests/model/random_model.h"

namespace heatkv::model {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

absl::Status LoadStatus(const TransformerSpec& spec,
                        const NamedTensors& weights) {
  const TemporaryFolder folder;
  WriteSafetensors(folder.File("w.safetensors"), weights);
  return InfinityTransformer::Load(
             spec, *WeightStore::Open({folder.File("w.safetensors")}, {}))
      .status();
}

TEST(TransformerTest, LoadsOfficialNamesWithAndWithoutUnusedBuffers) {
  const TransformerSpec spec = SmallTransformerSpec();
  NamedTensors weights = RandomTransformerWeights(spec, 1);
  EXPECT_TRUE(LoadStatus(spec, weights).ok()) << LoadStatus(spec, weights);
  weights.erase("block_chunks.0.module.0.sa.zero_k_bias");
  EXPECT_TRUE(LoadStatus(spec, weights).ok());
}

TEST(TransformerTest, AcceptsBothShapesOfTheQueryScale) {
  const TransformerSpec spec = SmallTransformerSpec();
  NamedTensors weights = RandomTransformerWeights(spec, 1);
  at::Tensor& scale = weights["block_chunks.1.module.0.sa.scale_mul_1H11"];
  scale = scale.view({1, 1, 2, 1});
  EXPECT_TRUE(LoadStatus(spec, weights).ok()) << LoadStatus(spec, weights);
}

TEST(TransformerTest, RefusesAFileOfAnotherDepth) {
  TransformerSpec other = SmallTransformerSpec();
  other.depth = 3;
  const absl::Status status =
      LoadStatus(SmallTransformerSpec(), RandomTransformerWeights(other, 1));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("3 blocks"), HasSubstr("depth 2")));
}

TEST(TransformerTest, RefusesAFileOfAnotherWidthNamingTensorAndShapes) {
  TransformerSpec other = SmallTransformerSpec();
  other.width = 24;
  const absl::Status status =
      LoadStatus(SmallTransformerSpec(), RandomTransformerWeights(other, 1));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("'text_proj_for_sos.ca.mat_q'"),
                    HasSubstr("w.safetensors"),
                    HasSubstr("[1, 1, 24], expected [1, 1, 16]")));
}

TEST(TransformerTest, RefusesUnconditionalTextOfAnotherLength) {
  const TransformerSpec spec = SmallTransformerSpec();
  NamedTensors weights = RandomTransformerWeights(spec, 1);
  weights["cfg_uncond"] = at::zeros({25, spec.text_width});
  EXPECT_THAT(LoadStatus(spec, weights).message(), HasSubstr("'cfg_uncond'"));
}

TEST(TransformerTest, UnconditionalTextHasThePromptsLength) {
  const auto transformer = RandomTransformer(SmallTransformerSpec(), 4);
  const TextCondition short_text = transformer->UnconditionalText(3);
  const TextCondition long_text = transformer->UnconditionalText(24);
  EXPECT_EQ(short_text.layers[1].keys.size(1), 3);
  EXPECT_EQ(long_text.layers[1].keys.size(1), 24);
  // It is what encoding the learned rows would give.
  const TextCondition encoded =
      transformer->EncodeText(transformer->UnconditionalFeatures(3));
  EXPECT_TRUE(at::allclose(short_text.pooled, encoded.pooled));
  EXPECT_TRUE(at::allclose(short_text.layers[1].values,
                           encoded.layers[1].values, 1e-4, 1e-5));
}

TEST(TransformerTest, HiddenPaddingOfATextChangesNothing) {
  const TransformerSpec spec = SmallTransformerSpec();
  const auto transformer = RandomTransformer(spec, 1);
  const int tokens = 5;
  const at::Tensor features = at::randn({tokens, spec.text_width});
  const TextCondition truth = transformer->EncodeText(features);
  for (const int rows : {5, 6, 32}) {
    const at::Tensor padded =
        at::cat({features, at::randn({rows - tokens, spec.text_width}) * 3});
    const at::Tensor bias =
        at::zeros({rows}).masked_fill(at::arange(rows) >= tokens, -INFINITY);
    const TextCondition text = transformer->CompleteText(
        transformer->CondenseText(padded, bias), tokens);
    EXPECT_EQ(text.tokens, tokens);
    const auto is_close = [](const at::Tensor& a, const at::Tensor& b) {
      return a.sizes() == b.sizes() && at::allclose(a, b, 1e-4, 1e-5);
    };
    EXPECT_TRUE(is_close(text.pooled, truth.pooled));
    EXPECT_TRUE(is_close(text.block_modulation, truth.block_modulation));
    EXPECT_TRUE(is_close(text.head_scale, truth.head_scale));
    EXPECT_TRUE(is_close(text.head_shift, truth.head_shift));
    ASSERT_EQ(text.layers.size(), truth.layers.size());
    for (std::size_t i = 0; i < truth.layers.size(); ++i) {
      EXPECT_TRUE(is_close(text.layers[i].keys, truth.layers[i].keys));
      EXPECT_TRUE(is_close(text.layers[i].values, truth.layers[i].values));
    }
  }
}

TEST(BlockNamesTest, AreInLayerOrderInEitherForm) {
  EXPECT_THAT(
      BlockNames({"block_chunks.10.module.0.x.y", "block_chunks.2.module.1.x.y",
                  "block_chunks.2.module.0.x.y", "block_chunks.2.module.0.z.y",
                  "head.weight"}),
      ElementsAre("block_chunks.2.module.0", "block_chunks.2.module.1",
                  "block_chunks.10.module.0"));
  EXPECT_THAT(BlockNames({"blocks.10.a.b", "blocks.9.a.b"}),
              ElementsAre("blocks.9", "blocks.10"));
  EXPECT_THAT(BlockNames({"head.weight"}), ElementsAre());
}

}  // namespace
}  // namespace heatkv::model
