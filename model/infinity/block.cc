#include "model/infinity/block.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "model/infinity/modulated_norm.h"

namespace heatkv::model {

Block Block::Take(WeightStore& weights, const std::string& prefix, int width,
                  int heads, int mlp_width) {
  Block block;
  block.modulation_ =
      weights.Take(absl::StrCat(prefix, ".ada_gss"), {1, 1, 6, width});
  block.self_attention_ =
      SelfAttention::Take(weights, absl::StrCat(prefix, ".sa"), width, heads);
  block.cross_attention_ =
      CrossAttention::Take(weights, absl::StrCat(prefix, ".ca"), width, heads);
  block.cross_norm_weight_ =
      weights.Take(absl::StrCat(prefix, ".ca_norm.weight"), {width});
  block.cross_norm_bias_ =
      weights.Take(absl::StrCat(prefix, ".ca_norm.bias"), {width});
  block.feed_forward_ = FeedForward::Take(weights, absl::StrCat(prefix, ".ffn"),
                                          width, mlp_width);
  return block;
}

void Block::Forward(at::Tensor& x, const at::Tensor& modulation,
                    const at::Tensor& rotations,
                    std::span<const TextKeysValues* const> texts,
                    const LayerSlots& slots, const RaggedAttention& attention,
                    KeyValueArena& arena) const {
  // Order in the files: gamma1, gamma2, scale1, scale2, shift1, shift2.
  const std::vector<at::Tensor> m = (modulation_ + modulation).unbind(2);
  x.addcmul_(self_attention_.Forward(ModulatedNorm(x, m[2], m[4]), rotations,
                                     slots, attention, arena),
             m[0]);
  x.add_(cross_attention_(at::layer_norm(x, {x.size(-1)}, cross_norm_weight_,
                                         cross_norm_bias_, kNormEpsilon),
                          texts));
  x.addcmul_(feed_forward_(ModulatedNorm(x, m[3], m[5])), m[1]);
}

}  // namespace heatkv::model
