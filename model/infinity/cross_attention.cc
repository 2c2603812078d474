#include "model/infinity/cross_attention.h"

#include <ATen/ATen.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace heatkv::model {

CrossAttention CrossAttention::Take(WeightStore& weights,
                                    const std::string& prefix, int width,
                                    int heads) {
  CrossAttention layer;
  layer.heads_ = heads;
  layer.query_ =
      Linear::TakeMatrix(weights, absl::StrCat(prefix, ".mat_q"), width, width);
  layer.keys_and_values_.weight = weights.TakeMatrix(
      absl::StrCat(prefix, ".mat_kv.weight"), {2 * width, width});
  const at::Tensor value_bias =
      weights.TakeMatrix(absl::StrCat(prefix, ".v_bias"), {width});
  weights.Ignore(absl::StrCat(prefix, ".zero_k_bias"));
  layer.keys_and_values_.bias =
      at::cat({at::zeros_like(value_bias), value_bias});
  layer.projection_ =
      Linear::TakeMatrix(weights, absl::StrCat(prefix, ".proj"), width, width);
  return layer;
}

TextKeysValues CrossAttention::ProjectText(const at::Tensor& rows) const {
  const at::Tensor both =
      keys_and_values_(rows)
          .view({rows.size(0), 2, heads_, rows.size(1) / heads_})
          .permute({1, 2, 0, 3})
          .contiguous();
  return {.keys = both[0], .values = both[1]};
}

at::Tensor CrossAttention::operator()(
    const at::Tensor& x, std::span<const TextKeysValues* const> texts) const {
  const std::int64_t branches = x.size(0);
  const std::int64_t tokens = x.size(1);
  const std::int64_t width = x.size(2);
  HEATKV_CHECK_EQ(texts.size(), branches);
  const at::Tensor queries =
      query_(x)
          .view({branches, tokens, heads_, width / heads_})
          .transpose(1, 2);
  std::vector<at::Tensor> attended;
  for (std::int64_t branch = 0; branch < branches; ++branch) {
    attended.push_back(at::scaled_dot_product_attention(
        queries.slice(0, branch, branch + 1), texts[branch]->keys.unsqueeze(0),
        texts[branch]->values.unsqueeze(0)));
  }
  return projection_(
      at::cat(attended).transpose(1, 2).reshape({branches, tokens, width}));
}

}  // namespace heatkv::model
