#include "tests/model/masked_attention.h"

#include <ATen/ATen.h>

#include <limits>

namespace heatkv::model {

at::Tensor MaskedAttention::Mask() const {
  const cache::ScaleLadder& ladder = schedule_->ladder();
  at::Tensor mask =
      at::zeros({1, schedule_->heads(), 1, ladder.tokens_before(scale_ + 1)});
  for (int head = 0; head < schedule_->heads(); ++head) {
    for (int s = ladder.first_prunable(); s < scale_; ++s) {
      if (schedule_->IsRemoved(scale_, s, {.layer = layer_, .head = head})) {
        mask[0][head][0]
            .slice(0, ladder.tokens_before(s), ladder.tokens_before(s + 1))
            .fill_(-std::numeric_limits<float>::infinity());
      }
    }
  }
  return mask;
}

at::Tensor MaskedAttention::Attend(const LayerSlots&, const at::Tensor& queries,
                                   const at::Tensor& keys,
                                   const at::Tensor& values,
                                   const KeyValueArena&) const {
  const auto grow = [](at::Tensor& all, const at::Tensor& more) {
    all = all.defined() ? at::cat({all, more}, 2) : more.clone();
  };
  grow(keys_[layer_], keys);
  grow(values_[layer_], values);
  const at::Tensor scores =
      at::matmul(queries, keys_[layer_].transpose(-1, -2)) + Mask();
  const at::Tensor result =
      at::matmul(at::softmax(scores, -1), values_[layer_]);
  if (++layer_ == schedule_->layers()) {
    layer_ = 0;
    ++scale_;
  }
  return result;
}

}  // namespace heatkv::model
