#include "model/prompt_texts.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/model/random_model.h"

namespace heatkv::model {
namespace {

using testing::HasSubstr;

class PromptTextsTest : public testing::Test {
 protected:
  PromptTextsTest() : spec_(WriteRandomModel(folder_, /*seed=*/3)) {
    const auto open = [&](const char* file) {
      return *WeightStore::Open({folder_.File(file)}, {});
    };
    tokenizer_ = *Tokenizer::Load(folder_.File(spec_.tokenizer.file));
    encoder_ =
        *T5Encoder::Load(spec_.text_encoder, open("text_encoder.safetensors"));
    transformer_ = *InfinityTransformer::Load(spec_.transformer,
                                              open("infinity.safetensors"));
  }

  PromptTexts Texts(bool encoder_has_thread) const {
    return PromptTexts(tokenizer_.get(), encoder_.get(), transformer_.get(),
                       spec_.tokenizer.max_length, encoder_has_thread);
  }

  const TemporaryFolder folder_;
  const ModelSpec spec_;
  std::unique_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<T5Encoder> encoder_;
  std::unique_ptr<InfinityTransformer> transformer_;
};

TEST_F(PromptTextsTest, ATextIsWhatTheTransformerMakesOfTheEncodersFeatures) {
  for (const bool encoder_has_thread : {false, true}) {
    PromptTexts texts = Texts(encoder_has_thread);
    texts.RecordAll();
    texts.Prepare("a red fox");
    const auto text = texts.Encode("a red fox");
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_TRUE(texts.IsReady("a red fox"));
    const std::vector<int> ids = *texts.Ids("a red fox");
    EXPECT_EQ((*text)->tokens, ids.size());
    const TextCondition truth = transformer_->EncodeText(encoder_->Encode(ids));
    EXPECT_TRUE(at::equal((*text)->pooled, truth.pooled));
    EXPECT_TRUE(at::equal((*text)->layers[1].values, truth.layers[1].values));
  }
}

TEST_F(PromptTextsTest, RefusesAPromptOfTooManyTokens) {
  PromptTexts texts = Texts(/*encoder_has_thread=*/false);
  std::string prompt;
  for (int i = 0; i < 60; ++i) absl::StrAppend(&prompt, "fox ");
  EXPECT_EQ(texts.Encode(prompt).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(texts.Ids(prompt).status().message(),
              HasSubstr(absl::StrCat("at most ", spec_.tokenizer.max_length)));
}

TEST_F(PromptTextsTest, UnconditionalTextsAreMadeOnceForEachNumberOfTokens) {
  PromptTexts texts = Texts(/*encoder_has_thread=*/false);
  const auto five = texts.Unconditional(5);
  EXPECT_NE(texts.Unconditional(6), five);
  EXPECT_EQ(texts.Unconditional(5), five);
  const TextCondition truth = transformer_->UnconditionalText(5);
  EXPECT_EQ(five->tokens, 5);
  EXPECT_TRUE(at::equal(five->pooled, truth.pooled));
  EXPECT_TRUE(at::equal(five->block_modulation, truth.block_modulation));
  // Its rows are the transformer's own.
  EXPECT_EQ(five->layers[0].keys.const_data_ptr(),
            truth.layers[0].keys.const_data_ptr());
}

}  // namespace
}  // namespace heatkv::model
