#include "model/infinity/reference_attention.h"

#include <ATen/ATen.h>

namespace heatkv::model {

at::Tensor ReferenceAttention::Attend(const LayerSlots& slots,
                                      const at::Tensor& queries,
                                      const at::Tensor& keys,
                                      const at::Tensor& values,
                                      const KeyValueArena& arena) const {
  const std::int64_t rows = queries.size(0) * queries.size(1);
  const std::int64_t tokens = queries.size(2);
  const std::int64_t width = queries.size(3);
  const auto by_row = [&](const at::Tensor& x) {
    return x.reshape({rows, tokens, width});
  };
  const at::Tensor q = by_row(queries);
  const at::Tensor k = by_row(keys);
  const at::Tensor v = by_row(values);

  at::Tensor result;
  for (const PrefixGroup& group : slots.groups) {
    const auto of_group = [&](const at::Tensor& x) {
      return group.rows.defined() ? x.index_select(0, group.rows) : x;
    };
    at::Tensor group_k = of_group(k);
    at::Tensor group_v = of_group(v);
    if (group.prefix > 0) {
      const KeyValueArena::Prefix prefix = arena.Gather(group, k.scalar_type());
      group_k = at::cat({prefix.keys, group_k}, 1);
      group_v = at::cat({prefix.values, group_v}, 1);
    }
    const at::Tensor attended =
        at::scaled_dot_product_attention(
            of_group(q).unsqueeze(1), group_k.unsqueeze(1),
            group_v.unsqueeze(1), /*attn_mask=*/{}, /*dropout_p=*/0.0,
            /*is_causal=*/false, /*scale=*/1.0)
            .squeeze(1);
    if (!group.rows.defined()) return attended.view(queries.sizes());
    if (!result.defined()) result = at::empty_like(q);
    result.index_copy_(0, group.rows, attended);
  }
  return result.view(queries.sizes());
}

}  // namespace heatkv::model
