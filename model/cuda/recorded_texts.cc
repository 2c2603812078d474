#include "model/cuda/recorded_texts.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

#include "base/check.h"
#include "model/text/token_buckets.h"

namespace heatkv::model {
namespace {

// T5's padding.  Nobody sees it.
constexpr std::int32_t kPadding = 0;

constexpr float kHidden = -std::numeric_limits<float>::infinity();

}  // namespace

RecordedTexts::RecordedTexts(const T5Encoder* encoder,
                             const InfinityTransformer* transformer,
                             int max_tokens, WorkArena* arena)
    : encoder_(encoder),
      transformer_(transformer),
      max_tokens_(max_tokens),
      arena_(arena) {
  const int rows = TokenBucket(max_tokens);
  const auto options =
      at::TensorOptions(at::kInt).device(transformer->device());
  position_bias_ = encoder->PositionBias(rows);
  positions_ = at::arange(rows, options);
  input_ = at::ones({1 + rows}, options);
}

void RecordedTexts::RecordAll() {
  for (const int rows : TokenBuckets(max_tokens_)) Recorded(rows);
}

InfinityTransformer::TextRows RecordedTexts::Compute(int rows) const {
  const at::Tensor hidden =
      positions_.narrow(0, 0, rows).ge(input_.narrow(0, 0, 1));
  const at::Tensor bias = position_bias_.narrow(2, 0, rows)
                              .narrow(3, 0, rows)
                              .masked_fill(hidden, kHidden);
  const at::Tensor features = encoder_->Encode(input_.narrow(0, 1, rows), bias);
  const at::Tensor token_bias =
      at::zeros({rows}, features.options()).masked_fill_(hidden, kHidden);
  return transformer_->CondenseText(features, token_bias);
}

RecordedTexts::Bucket& RecordedTexts::Recorded(int rows) {
  std::unique_ptr<Bucket>& place = buckets_[rows];
  if (place != nullptr) return *place;
  auto bucket = std::make_unique<Bucket>();
  const WorkArena::Use use(*arena_);
  // Libraries set themselves up when they are first used, which cannot be
  // recorded.
  Compute(rows);
  const InfinityTransformer::TextRows made =
      arena_->Record(bucket->graph, [&] { return Compute(rows); });
  bucket->text.condition.pooled = Borrowed(made.condition.pooled);
  bucket->text.condition.block_modulation =
      Borrowed(made.condition.block_modulation);
  bucket->text.condition.head_scale = Borrowed(made.condition.head_scale);
  bucket->text.condition.head_shift = Borrowed(made.condition.head_shift);
  bucket->text.rows = Borrowed(made.rows);
  place = std::move(bucket);
  return *place;
}

TextCondition RecordedTexts::Encode(const std::vector<int>& ids) {
  const auto tokens = static_cast<int>(ids.size());
  HEATKV_CHECK(tokens >= 1 && tokens <= max_tokens_);
  const int rows = TokenBucket(tokens);
  Bucket& bucket = Recorded(rows);
  uploads_.Reserve(input_.numel());
  const std::span<std::int32_t> input = uploads_.Next(1 + rows);
  input[0] = tokens;
  std::fill(std::copy(ids.begin(), ids.end(), input.begin() + 1), input.end(),
            kPadding);
  uploads_.Send(input_, 1 + rows);
  bucket.graph.replay();
  return transformer_->CompleteText(bucket.text, tokens);
}

}  // namespace heatkv::model
