// Texts by recorded graphs against the same texts computed at their own length,
// on the GPU and in float32 on the CPU.

#include "model/cuda/recorded_texts.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAFunctions.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "model/cuda/kernel_calls.h"
#include "tests/model/cuda/kernel_inputs.h"
#include "tests/model/cuda/scribble.h"
#include "tests/model/infinity_2b.h"
#include "tests/model/random_model.h"

namespace heatkv::model {
namespace {

constexpr int kMaxTokens = 70;  // buckets of 32, 64 and 128 rows

using model::RelativeError;

// Of all that a text consists of.
double RelativeError(const TextCondition& mine, const TextCondition& truth) {
  double worst = 0;
  for (const auto member :
       {&TextCondition::pooled, &TextCondition::block_modulation,
        &TextCondition::head_scale, &TextCondition::head_shift}) {
    worst = std::max(worst, RelativeError(mine.*member, truth.*member));
  }
  if (mine.layers.size() != truth.layers.size()) return 1e30;
  for (std::size_t i = 0; i < truth.layers.size(); ++i) {
    worst = std::max(
        {worst, RelativeError(mine.layers[i].keys, truth.layers[i].keys),
         RelativeError(mine.layers[i].values, truth.layers[i].values)});
  }
  return worst;
}

bool SameBytes(const TextCondition& a, const TextCondition& b) {
  return a.tokens == b.tokens && at::equal(a.pooled, b.pooled) &&
         at::equal(a.block_modulation, b.block_modulation) &&
         at::equal(a.head_scale, b.head_scale) &&
         at::equal(a.head_shift, b.head_shift) && at::equal(a.packed, b.packed);
}

std::vector<int> Ids(int tokens) {
  std::vector<int> ids;
  for (int i = 0; i + 1 < tokens; ++i) ids.push_back(2 + (37 * i + 11) % 380);
  ids.push_back(1);
  return ids;
}

struct Models {
  std::unique_ptr<T5Encoder> encoder;
  std::unique_ptr<InfinityTransformer> transformer;

  TextCondition Encode(const std::vector<int>& ids) const {
    return transformer->EncodeText(encoder->Encode(ids));
  }
};

class RecordedTextsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (CudaDevices() == 0) GTEST_SKIP() << "no CUDA device";
    transformer_.text_max_length = kMaxTokens;
    text_.vocabulary = 400;
    text_.width = transformer_.text_width;
    text_.heads = 4;
    text_.head_width = 16;
    text_.layers = 3;
    text_.mlp_width = 48;
    WriteSafetensors(folder_.File("t"),
                     RandomTransformerWeights(transformer_, 5));
    WriteSafetensors(folder_.File("e"), RandomTextWeights(text_, 6));
    cpu_ = Load(at::kCPU);
    gpu_ = Load(at::Device(at::kCUDA, 0));
    work_.emplace();
  }

  Models Load(at::Device device) const {
    const WeightStore::Options options = {
        .device = device,
        .dtype = at::kFloat,
        .matrix_dtype = device.is_cpu() ? at::kFloat : at::kBFloat16};
    auto encoder = T5Encoder::Load(
        text_, *WeightStore::Open({folder_.File("e")}, options));
    HEATKV_CHECK_OK(encoder.status());
    auto transformer = InfinityTransformer::Load(
        transformer_, *WeightStore::Open({folder_.File("t")}, options));
    HEATKV_CHECK_OK(transformer.status());
    return {*std::move(encoder), *std::move(transformer)};
  }

  RecordedTexts Texts() {
    return RecordedTexts(gpu_.encoder.get(), gpu_.transformer.get(), kMaxTokens,
                         &*work_);
  }

  const c10::InferenceMode inference_mode_;
  const TemporaryFolder folder_;
  TransformerSpec transformer_ = SmallTransformerSpec();
  TextEncoderSpec text_;
  Models cpu_;
  Models gpu_;
  std::optional<WorkArena> work_;
};

TEST_F(RecordedTextsTest, ATextIsThatOfItsOwnLengthBesideEveryBorder) {
  RecordedTexts texts = Texts();
  for (const int tokens : {1, 2, 31, 32, 33, 63, 64, 65, kMaxTokens}) {
    const std::vector<int> ids = Ids(tokens);
    const TextCondition text = texts.Encode(ids);
    EXPECT_EQ(text.tokens, tokens);
    EXPECT_TRUE(text.packed.is_contiguous());
    EXPECT_EQ(text.packed.storage().nbytes(), text.packed.nbytes());
    const double to_gpu = RelativeError(text, gpu_.Encode(ids));
    const double to_cpu = RelativeError(text, cpu_.Encode(ids));
    std::printf(
        "%d tokens: relative error %.2e to the same device, %.2e to "
        "float32\n",
        tokens, to_gpu, to_cpu);
    EXPECT_LT(to_gpu, 3e-2) << tokens;
    // What bfloat16 does to a small model of random weights.
    EXPECT_LT(to_cpu, 1e-1) << tokens;
  }
}

TEST_F(RecordedTextsTest, ATextsBytesAreNotOfThoseThatCameBefore) {
  RecordedTexts texts = Texts();
  std::vector<TextCondition> first;
  const std::vector<int> lengths = {1, 9, 32, 33, 64, 65, kMaxTokens};
  for (const int tokens : lengths) {
    first.push_back(texts.Encode(Ids(tokens)));
    Scribble(*work_);
  }
  // Later texts leave those that are there alone, and are the same again.
  for (int i = static_cast<int>(lengths.size()) - 1; i >= 0; --i) {
    const TextCondition again = texts.Encode(Ids(lengths[i]));
    EXPECT_TRUE(SameBytes(again, first[i])) << lengths[i];
    EXPECT_TRUE(again.packed.isfinite().all().item<bool>());
  }
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    RecordedTexts fresh = Texts();
    if (i % 2 == 0) fresh.RecordAll();
    EXPECT_TRUE(SameBytes(fresh.Encode(Ids(lengths[i])), first[i]))
        << lengths[i];
  }
}

TEST_F(RecordedTextsTest, OtherTokensBehindTheTextDoNotCount) {
  RecordedTexts texts = Texts();
  const TextCondition truth = texts.Encode(Ids(20));
  texts.Encode(Ids(32));  // fills the rows behind
  EXPECT_TRUE(SameBytes(texts.Encode(Ids(20)), truth));
  std::vector<int> other = Ids(20);
  other[3] = 399;
  EXPECT_GT(RelativeError(texts.Encode(other), truth), 1e-3);
}

// Flan-T5-XL, and a transformer of the true width.
TEST_F(RecordedTextsTest, AtFullSizeATextIsThatOfItsOwnLength) {
  TransformerSpec transformer = Infinity2b().transformer;
  transformer.depth = 2;
  const TextEncoderSpec text = Infinity2b().text_encoder;
  const WeightStore::Options options = {.device = at::Device(at::kCUDA, 0),
                                        .dtype = at::kFloat,
                                        .matrix_dtype = at::kBFloat16};
  auto encoder = T5Encoder::Load(text, WeightStore::Random(1, 0, options));
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  auto loaded = InfinityTransformer::Load(
      transformer, WeightStore::Random(2, transformer.depth, options));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const Models models{*std::move(encoder), *std::move(loaded)};
  RecordedTexts texts(models.encoder.get(), models.transformer.get(), 512,
                      &*work_);
  texts.RecordAll();
  for (const int tokens : {20, 50, 100, 200, 512}) {
    const std::vector<int> ids = Ids(tokens);
    const auto milliseconds = [](const auto& body) {
      constexpr int kTimes = 5;
      body();
      c10::cuda::device_synchronize();
      const auto begin = std::chrono::steady_clock::now();
      for (int i = 0; i < kTimes; ++i) body();
      c10::cuda::device_synchronize();
      return Milliseconds(begin) / kTimes;
    };
    const double error = RelativeError(texts.Encode(ids), models.Encode(ids));
    std::printf(
        "%d tokens: relative error %.2e; %.2f ms recorded, %.2f ms at "
        "their own length\n",
        tokens, error, milliseconds([&] { texts.Encode(ids); }),
        milliseconds([&] { models.Encode(ids); }));
    EXPECT_LT(error, 3e-2) << tokens;
  }
}

}  // namespace
}  // namespace heatkv::model
