#include "model/infinity/key_value_arena.h"

#include <ATen/ATen.h>

#include <array>

#include "cache/geometry.h"

namespace heatkv::model {

KeyValueArena::KeyValueArena(std::int64_t blocks, int head_width,
                             at::ScalarType dtype, at::Device device)
    : blocks_(at::empty({blocks, 2, cache::kBlockTokens, head_width},
                        at::TensorOptions(dtype).device(device))) {}

KeyValueArena::Prefix KeyValueArena::Gather(const PrefixGroup& group,
                                            at::ScalarType dtype) const {
  const std::int64_t head_width = blocks_.size(3);
  const at::Tensor slots = blocks_.view({-1, head_width});
  const std::array<std::int64_t, 3> shape = {group.num_rows, group.prefix,
                                             head_width};
  const auto gather = [&](const at::Tensor& which) {
    return slots.index_select(0, which).view(shape).to(dtype);
  };
  return {.keys = gather(group.key_slots), .values = gather(group.value_slots)};
}

void KeyValueArena::Store(const StoredRows& stored, const at::Tensor& keys,
                          const at::Tensor& values) {
  if (stored.num_rows == 0) return;
  const std::int64_t head_width = blocks_.size(3);
  at::Tensor slots = blocks_.view({-1, head_width});
  const auto store = [&](const at::Tensor& where, const at::Tensor& x) {
    at::Tensor rows = x.reshape({-1, x.size(2), head_width});
    if (stored.rows.defined()) rows = rows.index_select(0, stored.rows);
    slots.index_copy_(0, where,
                      rows.reshape({-1, head_width}).to(slots.scalar_type()));
  };
  store(stored.key_slots, keys);
  store(stored.value_slots, values);
}

}  // namespace heatkv::model
