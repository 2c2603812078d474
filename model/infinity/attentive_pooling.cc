#include "model/infinity/attentive_pooling.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"

namespace heatkv::model {

AttentivePooling AttentivePooling::Take(WeightStore& weights, int text_width,
                                        int width) {
  const std::string prefix = "text_proj_for_sos.ca";
  const std::string query = absl::StrCat(prefix, ".mat_q");
  // The authors' rule is one head per 128 text channels (64 above 4,096).  The
  // tensor itself says the same and also covers narrower models.
  std::int64_t heads = std::max(1, text_width / (text_width > 4096 ? 64 : 128));
  if (const auto shape = weights.ShapeOf(query); shape && shape->size() == 3 &&
                                                 (*shape)[1] > 0 &&
                                                 width % (*shape)[1] == 0) {
    heads = (*shape)[1];
  }
  AttentivePooling pooling;
  pooling.query_ = weights.Take(query, {1, heads, width / heads}).unsqueeze(2);
  pooling.keys_and_values_.weight = weights.Take(
      absl::StrCat(prefix, ".mat_kv.weight"), {2 * width, text_width});
  const at::Tensor value_bias =
      weights.Take(absl::StrCat(prefix, ".v_bias"), {width});
  weights.Ignore(absl::StrCat(prefix, ".zero_k_bias"));
  pooling.keys_and_values_.bias =
      at::cat({at::zeros_like(value_bias), value_bias});
  pooling.projection_ =
      Linear::Take(weights, absl::StrCat(prefix, ".proj"), width, width);
  return pooling;
}

at::Tensor AttentivePooling::Pool(const at::Tensor& text,
                                  const at::Tensor& token_bias) const {
  const std::int64_t heads = query_.size(1);
  const std::int64_t head_width = query_.size(3);
  const at::Tensor both = keys_and_values_(text)
                              .view({text.size(0), 2, heads, head_width})
                              .permute({1, 2, 0, 3});  // [2, heads, tokens, c]
  std::optional<at::Tensor> mask;
  if (token_bias.defined()) {
    mask = token_bias.expand({1, heads, 1, text.size(0)});
  }
  const at::Tensor pooled = at::scaled_dot_product_attention(
      query_, both.slice(0, 0, 1), both.slice(0, 1, 2), mask);
  return projection_(pooled.reshape({1, heads * head_width}));
}

}  // namespace heatkv::model
