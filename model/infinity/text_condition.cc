#include "model/infinity/text_condition.h"

#include <ATen/ATen.h>

namespace heatkv::model {
namespace {

constexpr double kTextNormEpsilon = 1e-6;

}  // namespace

std::int64_t TextCondition::bytes() const {
  std::int64_t bytes = 0;
  for (const at::Tensor& part :
       {pooled, block_modulation, head_scale, head_shift}) {
    bytes += static_cast<std::int64_t>(part.nbytes());
  }
  if (packed.defined()) {
    return bytes + static_cast<std::int64_t>(packed.nbytes());
  }
  for (const TextKeysValues& layer : layers) {
    bytes +=
        static_cast<std::int64_t>(layer.keys.nbytes() + layer.values.nbytes());
  }
  return bytes;
}

TextCondition TextCondition::WithOwnModulations() const {
  TextCondition copy = *this;
  for (at::Tensor* part : {&copy.pooled, &copy.block_modulation,
                           &copy.head_scale, &copy.head_shift}) {
    *part = part->clone();
  }
  return copy;
}

TextProjection TextProjection::Take(WeightStore& weights, int text_width,
                                    int width) {
  TextProjection result;
  result.norm_weight_ = weights.Take("text_norm.weight", {text_width});
  result.pooling_ = AttentivePooling::Take(weights, text_width, width);
  result.cross_in_ =
      Linear::Take(weights, "text_proj_for_ca.0", width, text_width);
  result.cross_out_ = Linear::Take(weights, "text_proj_for_ca.2", width, width);
  result.block_modulation_ =
      Linear::Take(weights, "shared_ada_lin.1", 6 * width, width);
  result.head_modulation_ =
      Linear::Take(weights, "head_nm.ada_lin.1", 2 * width, width);
  return result;
}

at::Tensor TextProjection::Normalise(const at::Tensor& features) const {
  const at::Tensor mean_square = features.pow(2).mean({-1}, /*keepdim=*/true);
  return features * at::rsqrt(mean_square + kTextNormEpsilon) * norm_weight_;
}

at::Tensor TextProjection::CrossRows(const at::Tensor& normalised) const {
  return cross_out_(at::gelu(cross_in_(normalised), "tanh"));
}

TextCondition TextProjection::Condition(const at::Tensor& normalised,
                                        const at::Tensor& token_bias) const {
  TextCondition condition;
  condition.tokens = static_cast<int>(normalised.size(0));
  condition.pooled = pooling_.Pool(normalised, token_bias);
  const at::Tensor activated = at::silu(condition.pooled);
  const std::int64_t width = activated.size(1);
  condition.block_modulation =
      block_modulation_(activated).view({1, 1, 6, width});
  // Here the scale comes first; in the blocks, six in another order.
  const at::Tensor head = head_modulation_(activated).view({1, 1, 2, width});
  condition.head_scale = head.select(2, 0);
  condition.head_shift = head.select(2, 1);
  return condition;
}

}  // namespace heatkv::model
