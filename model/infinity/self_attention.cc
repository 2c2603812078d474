#include "model/infinity/self_attention.h"

#include <ATen/ATen.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "model/infinity/rope2d.h"

namespace heatkv::model {
namespace {

constexpr double kSmallestNorm = 1e-12;

at::Tensor Normalised(const at::Tensor& x) {
  const at::Tensor wide = x.to(at::kFloat);
  return wide / at::linalg_vector_norm(wide, 2, {-1}, /*keepdim=*/true)
                    .clamp_min_(kSmallestNorm);
}

}  // namespace

SelfAttention SelfAttention::Take(WeightStore& weights,
                                  const std::string& prefix, int width,
                                  int heads) {
  SelfAttention layer;
  layer.heads_ = heads;
  layer.queries_keys_values_.weight = weights.TakeMatrix(
      absl::StrCat(prefix, ".mat_qkv.weight"), {3 * width, width});
  const at::Tensor query_bias =
      weights.TakeMatrix(absl::StrCat(prefix, ".q_bias"), {width});
  const at::Tensor value_bias =
      weights.TakeMatrix(absl::StrCat(prefix, ".v_bias"), {width});
  weights.Ignore(absl::StrCat(prefix, ".zero_k_bias"));
  layer.queries_keys_values_.bias =
      at::cat({query_bias, at::zeros_like(query_bias), value_bias});
  // Models trained with the authors' fused attention store the other shape.
  layer.query_scale_ =
      weights
          .TakeAnyShape(absl::StrCat(prefix, ".scale_mul_1H11"),
                        {{1, heads, 1, 1}, {1, 1, heads, 1}})
          .to(at::kFloat)
          .clamp_max(std::log(100.0))
          .exp();
  layer.projection_ =
      Linear::TakeMatrix(weights, absl::StrCat(prefix, ".proj"), width, width);
  return layer;
}

at::Tensor SelfAttention::Forward(const at::Tensor& x,
                                  const at::Tensor& rotations,
                                  const LayerSlots& slots,
                                  const RaggedAttention& attention,
                                  KeyValueArena& arena) const {
  const std::int64_t branches = x.size(0);
  const std::int64_t tokens = x.size(1);
  const std::int64_t width = x.size(2);
  const at::Tensor all =
      queries_keys_values_(x)
          .view({branches, tokens, 3, heads_, width / heads_})
          .permute({2, 0, 3, 1, 4});
  const at::Tensor queries =
      Rotate(Normalised(all[0]) * query_scale_, rotations)
          .to(all.scalar_type());
  const at::Tensor keys =
      Rotate(Normalised(all[1]), rotations).to(all.scalar_type());
  const at::Tensor values = all[2].contiguous();
  const at::Tensor attended =
      attention.Attend(slots, queries, keys, values, arena);
  arena.Store(slots.stored, keys, values);
  return projection_(
      attended.transpose(1, 2).reshape({branches, tokens, width}));
}

}  // namespace heatkv::model
