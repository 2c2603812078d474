// One transformer block (specification section 3):
//
//   x = x + gamma1 * SelfAttention(LN(x) (1 + scale1) + shift1)
//   x = x + CrossAttention(ca_norm(x), text)
//   x = x + gamma2 * FeedForward(LN(x) (1 + scale2) + shift2)
//
// The six modulations are the block's own `ada_gss` plus the pooled text's.

#ifndef MODEL_INFINITY_BLOCK_H_
#define MODEL_INFINITY_BLOCK_H_

#include <ATen/core/Tensor.h>

#include <span>
#include <string>

#include "model/infinity/cross_attention.h"
#include "model/infinity/feed_forward.h"
#include "model/infinity/self_attention.h"
#include "model/weights/weight_store.h"

namespace heatkv::model {

class Block {
 public:
  // Takes all tensors under PREFIX.
  static Block Take(WeightStore& weights, const std::string& prefix, int width,
                    int heads, int mlp_width);

  TextKeysValues ProjectText(const at::Tensor& rows) const {
    return cross_attention_.ProjectText(rows);
  }

  // x [branches, tokens, width], changed in place; modulation [branches, 1, 6,
  // width]; texts[b] is what this block sees of branch b's text.
  void Forward(at::Tensor& x, const at::Tensor& modulation,
               const at::Tensor& rotations,
               std::span<const TextKeysValues* const> texts,
               const LayerSlots& slots, const RaggedAttention& attention,
               KeyValueArena& arena) const;

  // For whoever computes the block in another way.
  const at::Tensor& modulation() const { return modulation_; }
  const SelfAttention& self_attention() const { return self_attention_; }
  const CrossAttention& cross_attention() const { return cross_attention_; }
  CrossAttention& cross_attention() { return cross_attention_; }
  const at::Tensor& cross_norm_weight() const { return cross_norm_weight_; }
  const at::Tensor& cross_norm_bias() const { return cross_norm_bias_; }
  const FeedForward& feed_forward() const { return feed_forward_; }

 private:
  at::Tensor modulation_;  // ada_gss, [1, 1, 6, width]
  SelfAttention self_attention_;
  CrossAttention cross_attention_;
  at::Tensor cross_norm_weight_;
  at::Tensor cross_norm_bias_;
  FeedForward feed_forward_;
};

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_BLOCK_H_
