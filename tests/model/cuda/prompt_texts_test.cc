// Texts on a GPU, with the text encoder beside them and in host memory: what is
// kept of them does not lie in the work arena.

#include "model/prompt_texts.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "base/check.h"
#include "model/cuda/kernel_calls.h"
#include "tests/model/cuda/scribble.h"
#include "tests/model/random_model.h"

namespace heatkv::model {
namespace {

std::vector<at::Tensor> Parts(const TextCondition& text) {
  return {text.pooled, text.block_modulation, text.head_scale, text.head_shift,
          text.packed};
}

class PromptTextsOnGpuTest : public testing::TestWithParam<bool> {};

TEST_P(PromptTextsOnGpuTest, TextsOutliveWhatIsComputedBehindThem) {
  if (CudaDevices() == 0) GTEST_SKIP() << "no CUDA device";
  const bool is_encoder_on_host = GetParam();
  const c10::InferenceMode inference_mode;
  const TemporaryFolder folder;
  const ModelSpec spec = WriteRandomModel(folder, /*seed=*/3);
  const at::Device gpu(at::kCUDA, 0);
  const auto open = [&](const char* file, at::Device device) {
    auto weights = WeightStore::Open(
        {folder.File(file)},
        {.device = device,
         .dtype = at::kFloat,
         .matrix_dtype = device.is_cpu() ? at::kFloat : at::kBFloat16});
    HEATKV_CHECK_OK(weights.status());
    return *std::move(weights);
  };
  const auto tokenizer = Tokenizer::Load(folder.File(spec.tokenizer.file));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto encoder = T5Encoder::Load(
      spec.text_encoder, open("text_encoder.safetensors",
                              is_encoder_on_host ? at::Device(at::kCPU) : gpu));
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  const auto transformer = InfinityTransformer::Load(
      spec.transformer, open("infinity.safetensors", gpu));
  ASSERT_TRUE(transformer.ok()) << transformer.status();
  WorkArena work;
  PromptTexts texts(tokenizer->get(), encoder->get(), transformer->get(),
                    spec.tokenizer.max_length, is_encoder_on_host, &work);
  std::vector<std::shared_ptr<const TextCondition>> kept;
  std::vector<std::vector<at::Tensor>> truth;
  for (const char* prompt : {"a red fox", "a boat at sea", "fog"}) {
    const auto text = texts.Encode(prompt);
    ASSERT_TRUE(text.ok()) << text.status();
    kept.push_back(*text);
    kept.push_back(texts.Unconditional((*text)->tokens));
    for (std::size_t i = truth.size(); i < kept.size(); ++i) {
      truth.emplace_back();
      for (const at::Tensor& part : Parts(*kept[i])) {
        truth.back().push_back(part.cpu());
        EXPECT_TRUE(truth.back().back().isfinite().all().item<bool>());
      }
    }
    Scribble(work);
  }
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const std::vector<at::Tensor> parts = Parts(*kept[i]);
    for (std::size_t p = 0; p < parts.size(); ++p) {
      EXPECT_TRUE(at::equal(parts[p].cpu(), truth[i][p])) << i << ", " << p;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(WithTheEncoder, PromptTextsOnGpuTest, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& info) {
                           return info.param ? "OnTheHost" : "OnTheGpu";
                         });

}  // namespace
}  // namespace heatkv::model
