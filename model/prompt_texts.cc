#include "model/prompt_texts.h"

#include <ATen/ATen.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/torch_exceptions.h"

namespace heatkv::model {

template <typename Body>
std::invoke_result_t<Body> PromptTexts::InArena(Body body) const {
#if HEATKV_CUDA
  std::optional<WorkArena::Use> use;
  if (arena_ != nullptr) use.emplace(*arena_);
#endif
  return body();
}

PromptTexts::PromptTexts(const Tokenizer* tokenizer, const T5Encoder* encoder,
                         const InfinityTransformer* transformer, int max_length,
                         bool encoder_has_thread, WorkArena* arena)
    : tokenizer_(tokenizer),
      encoder_(encoder),
      transformer_(transformer),
      max_length_(max_length),
      arena_(arena) {
  if (encoder_has_thread) {
    worker_.emplace([this](const std::string& prompt) {
      return WithoutExceptions("encoding the prompt",
                               [&] { return Features(prompt); });
    });
    return;
  }
#if HEATKV_CUDA
  if (arena != nullptr) {
    recorded_.emplace(encoder, transformer, max_length, arena);
  }
#endif
}

absl::StatusOr<std::vector<int>> PromptTexts::Ids(
    std::string_view prompt) const {
  ASSIGN_OR_RETURN(std::vector<int> ids, tokenizer_->Encode(prompt));
  if (static_cast<int>(ids.size()) > max_length_) {
    return absl::InvalidArgumentError(
        absl::StrCat("the prompt has ", ids.size(),
                     " tokens; the model reads at most ", max_length_));
  }
  return ids;
}

void PromptTexts::Prepare(std::string_view prompt) {
  if (worker_.has_value()) worker_->Prepare(prompt);
}

bool PromptTexts::IsReady(std::string_view prompt) const {
  return !worker_.has_value() || worker_->IsReady(prompt);
}

absl::StatusOr<std::shared_ptr<const TextCondition>> PromptTexts::Encode(
    std::string_view prompt) {
  if (worker_.has_value()) {
    ASSIGN_OR_RETURN(const at::Tensor features,
                     worker_->Take(std::string(prompt)));
    return Condition(features);
  }
  ASSIGN_OR_RETURN(const std::vector<int> ids, Ids(prompt));
  return Encode(ids);
}

std::shared_ptr<const TextCondition> PromptTexts::Encode(
    const std::vector<int>& ids) {
#if HEATKV_CUDA
  if (recorded_.has_value()) {
    return std::make_shared<const TextCondition>(recorded_->Encode(ids));
  }
#endif
  return Condition(encoder_->Encode(ids));
}

std::shared_ptr<const TextCondition> PromptTexts::Unconditional(int tokens) {
  std::shared_ptr<const TextCondition>& text = unconditional_[tokens];
  if (text == nullptr) {
    const TextCondition made =
        InArena([&] { return transformer_->UnconditionalText(tokens); });
    text = std::make_shared<const TextCondition>(made.WithOwnModulations());
  }
  return text;
}

void PromptTexts::RecordAll() {
#if HEATKV_CUDA
  if (recorded_.has_value()) recorded_->RecordAll();
#endif
}

absl::StatusOr<at::Tensor> PromptTexts::Features(
    std::string_view prompt) const {
  ASSIGN_OR_RETURN(const std::vector<int> ids, Ids(prompt));
  return encoder_->Encode(ids);
}

std::shared_ptr<const TextCondition> PromptTexts::Condition(
    const at::Tensor& features) const {
  const auto tokens = static_cast<int>(features.size(0));
  const InfinityTransformer::TextRows text = InArena([&] {
    return transformer_->CondenseText(features.to(transformer_->device()),
                                      /*token_bias=*/{});
  });
  return std::make_shared<const TextCondition>(
      transformer_->CompleteText(text, tokens));
}

}  // namespace heatkv::model
