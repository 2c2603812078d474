#include "model/text/t5_encoder.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/text/relative_position.h"

namespace heatkv::model {
namespace {

constexpr double kEpsilon = 1e-6;

// In the weight's dtype.  What is added up from layer to layer stays float32.
at::Tensor Product(const at::Tensor& x, const at::Tensor& weight) {
  return at::linear(x.to(weight.scalar_type()), weight);
}

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight) {
  // The same in one kernel.
  if (x.is_cuda()) return at::rms_norm(x, {x.size(-1)}, weight, kEpsilon);
  const at::Tensor mean_square = x.pow(2).mean({-1}, /*keepdim=*/true);
  return x * at::rsqrt(mean_square + kEpsilon) * weight;
}

}  // namespace

absl::StatusOr<std::unique_ptr<T5Encoder>> T5Encoder::Load(
    const TextEncoderSpec& spec, WeightStore weights) {
  auto encoder = std::unique_ptr<T5Encoder>(new T5Encoder(spec));
  const int width = spec.width;
  const int inner = spec.heads * spec.head_width;
  encoder->embedding_ =
      weights.TakeMatrix("shared.weight", {spec.vocabulary, width});
  weights.Ignore("encoder.embed_tokens.weight");  // the same tensor
  encoder->position_bias_ = weights.Take(
      "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
      {spec.relative_buckets, spec.heads});
  for (int i = 0; i < spec.layers; ++i) {
    const std::string prefix = absl::StrCat("encoder.block.", i, ".layer.");
    const auto take = [&](const char* name, const Shape& shape) {
      const std::string full_name = absl::StrCat(prefix, name, ".weight");
      return shape.size() == 1 ? weights.Take(full_name, shape)
                               : weights.TakeMatrix(full_name, shape);
    };
    encoder->layers_.push_back(
        {.attention_norm = take("0.layer_norm", {width}),
         .query_key_value =
             at::cat({take("0.SelfAttention.q", {inner, width}),
                      take("0.SelfAttention.k", {inner, width}),
                      take("0.SelfAttention.v", {inner, width})}),
         .output = take("0.SelfAttention.o", {width, inner}),
         .feed_forward_norm = take("1.layer_norm", {width}),
         .gate_and_widen =
             at::cat({take("1.DenseReluDense.wi_0", {spec.mlp_width, width}),
                      take("1.DenseReluDense.wi_1", {spec.mlp_width, width})}),
         .narrow = take("1.DenseReluDense.wo", {width, spec.mlp_width})});
  }
  encoder->final_norm_ =
      weights.Take("encoder.final_layer_norm.weight", {width});
  RETURN_IF_ERROR(weights.Finish());
  return encoder;
}

at::ScalarType T5Encoder::HostDtype() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") ? at::kBFloat16 : at::kFloat;
#else
  return at::kFloat;
#endif
}

at::Tensor T5Encoder::Encode(const std::vector<int>& ids) const {
  return Encode(
      at::tensor(ids, at::TensorOptions(at::kInt)).to(embedding_.device()),
      PositionBias(static_cast<int>(ids.size())));
}

at::Tensor T5Encoder::PositionBias(int tokens) const {
  return position_bias_
      .index({RelativePositionBuckets(tokens, spec_.relative_buckets,
                                      spec_.relative_max_distance)
                  .to(embedding_.device())})
      .permute({2, 0, 1})
      .unsqueeze(0)
      .to(embedding_.scalar_type())
      .contiguous();
}

at::Tensor T5Encoder::Encode(const at::Tensor& ids,
                             const at::Tensor& position_bias) const {
  at::Tensor x = embedding_.index_select(0, ids).to(at::kFloat);
  for (const Layer& layer : layers_) {
    x = x + Attend(layer, RmsNorm(x, layer.attention_norm), position_bias);
    const std::vector<at::Tensor> halves =
        Product(RmsNorm(x, layer.feed_forward_norm), layer.gate_and_widen)
            .chunk(2, /*dim=*/1);
    x = x + Product(at::gelu(halves[0], "tanh") * halves[1], layer.narrow);
  }
  return RmsNorm(x, final_norm_);
}

at::Tensor T5Encoder::Attend(const Layer& layer, const at::Tensor& x,
                             const at::Tensor& position_bias) const {
  const std::int64_t tokens = x.size(0);
  const std::vector<at::Tensor> by_head =
      Product(x, layer.query_key_value)
          .view({1, tokens, 3, spec_.heads, spec_.head_width})
          .transpose(1, 3)  // [1, heads, 3, tokens, head width]
          .unbind(2);
  const at::Tensor attended = at::scaled_dot_product_attention(
      by_head[0], by_head[1], by_head[2], position_bias, /*dropout_p=*/0.0,
      /*is_causal=*/false, /*scale=*/1.0);
  return Product(attended.transpose(1, 2).reshape({tokens, -1}), layer.output);
}

}  // namespace heatkv::model
