// From prompts to what the transformer reads of them: tokenizer, text encoder,
// and the transformer's text side, wherever each of them is.
//
// With the encoder in host memory beside a transformer on a GPU, prompts are
// encoded on a thread of their own (text/text_worker.h); with both on a GPU by
// recorded graphs (cuda/recorded_texts.h); else one after the other.
//
// No exception of torch is caught here.  Ids may be called from any thread at
// any time, everything else by one thread, with the transformer's device as the
// current one.

#ifndef MODEL_PROMPT_TEXTS_H_
#define MODEL_PROMPT_TEXTS_H_

#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <type_traits>
#include <vector>

#include "absl/status/statusor.h"
#include "model/infinity/text_condition.h"
#include "model/infinity/transformer.h"
#include "model/text/t5_encoder.h"
#include "model/text/text_worker.h"
#include "model/text/tokenizer.h"
#if HEATKV_CUDA
#include "model/cuda/recorded_texts.h"
#endif

namespace heatkv::model {

class WorkArena;

class PromptTexts {
 public:
  // Of prompts of at most `max_length` tokens.  `encoder_has_thread`: the
  // encoder is in host memory and has a thread of its own.  `arena` is that of
  // the transformer's GPU, or null where there is none.  The parts and the
  // arena outlive this.
  PromptTexts(const Tokenizer* tokenizer, const T5Encoder* encoder,
              const InfinityTransformer* transformer, int max_length,
              bool encoder_has_thread, WorkArena* arena = nullptr);

  // Fails with InvalidArgument if the prompt has more than `max_length` tokens.
  absl::StatusOr<std::vector<int>> Ids(std::string_view prompt) const;

  // Begins to encode, if the encoder has a thread of its own.
  void Prepare(std::string_view prompt);
  // Whether Encode would not wait for that.
  bool IsReady(std::string_view prompt) const;

  // Fails as Ids does.
  absl::StatusOr<std::shared_ptr<const TextCondition>> Encode(
      std::string_view prompt);
  std::shared_ptr<const TextCondition> Encode(const std::vector<int>& ids);

  // The unconditional text beside a prompt of `tokens` tokens.  Made once and
  // kept: there are at most `max_length` of them, which share their keys and
  // values.
  std::shared_ptr<const TextCondition> Unconditional(int tokens);

  // Leaves nothing to be recorded when prompts come.
  void RecordAll();

 private:
  absl::StatusOr<at::Tensor> Features(std::string_view prompt) const;
  std::shared_ptr<const TextCondition> Condition(
      const at::Tensor& features) const;
  // What `body` makes, in the arena where there is one.
  template <typename Body>
  std::invoke_result_t<Body> InArena(Body body) const;

  const Tokenizer* tokenizer_;
  const T5Encoder* encoder_;
  const InfinityTransformer* transformer_;
  int max_length_;
  [[maybe_unused]] WorkArena* arena_;
  std::map<int, std::shared_ptr<const TextCondition>> unconditional_;
#if HEATKV_CUDA
  std::optional<RecordedTexts> recorded_;
#endif
  // Uses this, so it is the first to go.
  std::optional<TextWorker> worker_;
};

}  // namespace heatkv::model

#endif  // MODEL_PROMPT_TEXTS_H_
