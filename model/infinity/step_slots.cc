#include "model/infinity/step_slots.h"

#include <ATen/ATen.h>

#include <map>
#include <span>

#include "base/check.h"

namespace heatkv::model {
namespace {

using cache::BlockSpan;
using cache::kBlockTokens;

at::Tensor IndexTensor(const std::vector<std::int64_t>& values,
                       at::Device device) {
  return at::tensor(values, at::TensorOptions(at::kLong)).to(device);
}

std::int64_t TokensOf(std::span<const BlockSpan> spans) {
  std::int64_t tokens = 0;
  for (const BlockSpan& span : spans) tokens += span.tokens;
  return tokens;
}

// Appends the key slots of the spans, token by token.
void AppendKeySlots(std::span<const BlockSpan> spans,
                    std::vector<std::int64_t>* slots) {
  for (const BlockSpan& span : spans) {
    const std::int64_t first =
        std::int64_t{span.block} * 2 * kBlockTokens + span.first;
    for (int token = 0; token < span.tokens; ++token) {
      slots->push_back(first + token);
    }
  }
}

// The rows' index tensor, or none if they are all rows in order.
at::Tensor RowIndex(const std::vector<std::int64_t>& rows, int all,
                    at::Device device) {
  if (static_cast<int>(rows.size()) == all) return {};
  return IndexTensor(rows, device);
}

LayerSlots MakeLayerSlots(const cache::StepPlan& plan, int layer,
                          std::int64_t tokens, at::Device device) {
  struct Pending {
    std::vector<std::int64_t> rows;
    std::vector<std::int64_t> slots;
  };
  std::map<std::int64_t, Pending> by_prefix;  // ordered: groups are repeatable
  Pending stored;
  const int rows_in_layer = plan.branches * plan.heads;
  for (int branch = 0; branch < plan.branches; ++branch) {
    for (int head = 0; head < plan.heads; ++head) {
      const int row = plan.row(layer, branch, head);
      const std::int64_t row_in_layer = branch * plan.heads + head;
      const std::span<const BlockSpan> prefix = plan.prefix_of(row);
      Pending& group = by_prefix[TokensOf(prefix)];
      group.rows.push_back(row_in_layer);
      AppendKeySlots(prefix, &group.slots);
      const std::span<const BlockSpan> store = plan.store_of(row);
      if (store.empty()) continue;
      HEATKV_CHECK_EQ(TokensOf(store), tokens)
          << "layer " << layer << ", branch " << branch << ", head " << head
          << ", scale " << plan.scale;
      stored.rows.push_back(row_in_layer);
      AppendKeySlots(store, &stored.slots);
    }
  }
  LayerSlots result;
  for (const auto& [prefix, group] : by_prefix) {
    const at::Tensor keys = IndexTensor(group.slots, device);
    result.groups.push_back(
        {.num_rows = static_cast<std::int64_t>(group.rows.size()),
         .prefix = prefix,
         .rows = RowIndex(group.rows, rows_in_layer, device),
         .key_slots = keys,
         .value_slots = keys + kBlockTokens});
  }
  const at::Tensor keys = IndexTensor(stored.slots, device);
  result.stored = {.num_rows = static_cast<std::int64_t>(stored.rows.size()),
                   .rows = RowIndex(stored.rows, rows_in_layer, device),
                   .key_slots = keys,
                   .value_slots = keys + kBlockTokens};
  return result;
}

}  // namespace

StepSlots MakeStepSlots(const cache::StepPlan& plan, std::int64_t tokens,
                        at::Device device) {
  StepSlots slots;
  slots.layers.reserve(plan.layers);
  for (int layer = 0; layer < plan.layers; ++layer) {
    slots.layers.push_back(MakeLayerSlots(plan, layer, tokens, device));
  }
  return slots;
}

}  // namespace heatkv::model
