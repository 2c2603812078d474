#include "model/cuda/recorded_texts.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

#include "base/check.h"
#include "model/cuda/graph_recording.h"
#include "model/text/token_buckets.h"

namespace heatkv::model {
namespace {

// T5's padding.  Nobody sees it.
constexpr std::int32_t kPadding = 0;

constexpr float kHidden = -std::numeric_limits<float>::infinity();

}  // namespace

RecordedTexts::RecordedTexts(const T5Encoder* encoder,
                             const InfinityTransformer* transformer,
                             int max_tokens)
    : encoder_(encoder),
      transformer_(transformer),
      max_tokens_(max_tokens),
      stream_(c10::cuda::getStreamFromPool()),
      pool_(at::cuda::graph_pool_handle()) {
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
  // Libraries set themselves up when they are first used, which cannot be
  // recorded.
  c10::cuda::device_synchronize();
  {
    const c10::cuda::CUDAStreamGuard guard(stream_);
    Compute(rows);
    stream_.synchronize();
    bucket->text = Record(bucket->graph, pool_, [&] { return Compute(rows); });
  }
  transformer_->CompleteText(bucket->text, rows);
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
  // The graph's own tensors are written again by the next text.
  const TextCondition& made = bucket.text.condition;
  InfinityTransformer::TextRows text{.condition = {}, .rows = bucket.text.rows};
  text.condition.pooled = made.pooled.clone();
  text.condition.block_modulation = made.block_modulation.clone();
  text.condition.head_scale = made.head_scale.clone();
  text.condition.head_shift = made.head_shift.clone();
  return transformer_->CompleteText(std::move(text), tokens);
}

}  // namespace heatkv::model
