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
         .query = take("0.SelfAttention.q", {inner, width}),
         .key = take("0.SelfAttention.k", {inner, width}),
         .value = take("0.SelfAttention.v", {inner, width}),
         .output = take("0.SelfAttention.o", {width, inner}),
         .feed_forward_norm = take("1.layer_norm", {width}),
         .gate = take("1.DenseReluDense.wi_0", {spec.mlp_width, width}),
         .widen = take("1.DenseReluDense.wi_1", {spec.mlp_width, width}),
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
  const at::Device device = embedding_.device();
  const auto tokens = static_cast<int>(ids.size());
  const at::Tensor position_bias =
      position_bias_
          .index({RelativePositionBuckets(tokens, spec_.relative_buckets,
                                          spec_.relative_max_distance)
                      .to(device)})
          .permute({2, 0, 1})
          .unsqueeze(0);  // [1, heads, query, key]
  at::Tensor x =
      embedding_
          .index_select(0,
                        at::tensor(ids, at::TensorOptions(at::kInt)).to(device))
          .to(at::kFloat);
  for (const Layer& layer : layers_) {
    x = x + Attend(layer, RmsNorm(x, layer.attention_norm), position_bias);
    const at::Tensor normed = RmsNorm(x, layer.feed_forward_norm);
    x = x + Product(at::gelu(Product(normed, layer.gate), "tanh") *
                        Product(normed, layer.widen),
                    layer.narrow);
  }
  return RmsNorm(x, final_norm_);
}

at::Tensor T5Encoder::Attend(const Layer& layer, const at::Tensor& x,
                             const at::Tensor& position_bias) const {
  const std::int64_t tokens = x.size(0);
  const auto by_head = [&](const at::Tensor& weight) {
    return Product(x, weight)
        .view({1, tokens, spec_.heads, spec_.head_width})
        .transpose(1, 2);
  };
  const at::Tensor attended = at::scaled_dot_product_attention(
      by_head(layer.query), by_head(layer.key), by_head(layer.value),
      position_bias.to(layer.query.scalar_type()), /*dropout_p=*/0.0,
      /*is_causal=*/false, /*scale=*/1.0);
  return Product(attended.transpose(1, 2).reshape({tokens, -1}), layer.output);
}

}  // namespace heatkv::model
