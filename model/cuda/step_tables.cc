#include "model/cuda/step_tables.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/check.h"
#include "model/cuda/kernel_calls.h"

namespace heatkv::model {
namespace {

using cache::BlockSpan;
using cache::kBlockTokens;

static_assert(sizeof(kernels::CopySpan) == 3 * sizeof(std::int32_t));

// Appends the spans, which lie one behind the other from `row` of staging on;
// returns their tokens.
std::int64_t Append(std::span<const BlockSpan> spans, std::int64_t row,
                    std::vector<std::int32_t>* list) {
  std::int64_t tokens = 0;
  for (const BlockSpan& span : spans) {
    list->push_back(span.block * 2 * kBlockTokens + span.first);
    list->push_back(static_cast<std::int32_t>(row + tokens));
    list->push_back(span.tokens);
    tokens += span.tokens;
  }
  return tokens;
}

}  // namespace

StepTables::StepTables(std::span<const cache::StepPlan* const> plans,
                       int capacity, std::int64_t tokens,
                       std::span<const int> text_tokens) {
  HEATKV_CHECK(!plans.empty());
  HEATKV_CHECK_LE(plans.size(), capacity);
  const cache::StepPlan& first = *plans[0];
  rows_ = std::int64_t{capacity} * first.branches;
  sequences_ = rows_ * first.heads;
  HEATKV_CHECK_EQ(text_tokens.size(), rows_);

  std::vector<std::int32_t> table;
  const auto append_multiples = [&](std::int64_t count) {
    for (std::int64_t i = 0; i <= count; ++i) {
      table.push_back(static_cast<std::int32_t>(i * tokens));
    }
  };
  append_multiples(sequences_);
  text_query_begin_ = static_cast<std::int64_t>(table.size());
  append_multiples(rows_);
  text_key_begin_ = static_cast<std::int64_t>(table.size());
  std::int32_t text = 0;
  table.push_back(text);
  for (const int count : text_tokens) table.push_back(text += count);

  std::vector<std::int32_t> key_begin;
  std::vector<std::int32_t> current;
  std::vector<std::int32_t> prefixes;
  std::vector<std::int32_t> stores;
  const auto append = [&](const std::vector<std::int32_t>& part) {
    const auto begin = static_cast<std::int64_t>(table.size());
    table.insert(table.end(), part.begin(), part.end());
    return begin;
  };
  for (int layer = 0; layer < first.layers; ++layer) {
    key_begin.clear();
    current.clear();
    prefixes.clear();
    stores.clear();
    std::int64_t row = 0;
    for (int slot = 0; slot < capacity; ++slot) {
      const cache::StepPlan* const plan =
          slot < plans.size() ? plans[slot] : nullptr;
      for (int branch = 0; branch < first.branches; ++branch) {
        for (int head = 0; head < first.heads; ++head) {
          key_begin.push_back(static_cast<std::int32_t>(row));
          if (plan != nullptr) {
            const int plan_row = plan->row(layer, branch, head);
            row += Append(plan->prefix_of(plan_row), row, &prefixes);
            const std::int64_t stored =
                Append(plan->store_of(plan_row), row, &stores);
            HEATKV_CHECK(stored == 0 || stored == tokens)
                << "layer " << layer << ", branch " << branch << ", head "
                << head << " stores " << stored << " of " << tokens
                << " tokens";
          }
          current.push_back(static_cast<std::int32_t>(row));
          row += tokens;
        }
      }
    }
    key_begin.push_back(static_cast<std::int32_t>(row));
    Layer made;
    made.rows = row;
    made.key_begin = append(key_begin);
    made.current = append(current);
    made.prefixes = {.begin = append(prefixes), .spans = prefixes.size() / 3};
    made.stores = {.begin = append(stores), .spans = stores.size() / 3};
    layers_.push_back(made);
    most_staging_rows_ = std::max(most_staging_rows_, row);
  }
  table_ = Upload(table);
}

at::Tensor StepTables::Part(std::int64_t begin, std::int64_t size) const {
  return table_.narrow(0, begin, size);
}

at::Tensor StepTables::query_begin() const { return Part(0, sequences_ + 1); }

at::Tensor StepTables::text_query_begin() const {
  return Part(text_query_begin_, rows_ + 1);
}

at::Tensor StepTables::text_key_begin() const {
  return Part(text_key_begin_, rows_ + 1);
}

at::Tensor StepTables::key_begin(int layer) const {
  return Part(layers_[layer].key_begin, sequences_ + 1);
}

const std::int32_t* StepTables::current(int layer) const {
  return table_.const_data_ptr<int>() + layers_[layer].current;
}

std::span<const kernels::CopySpan> StepTables::Spans(const List& list) const {
  return {reinterpret_cast<const kernels::CopySpan*>(
              table_.const_data_ptr<int>() + list.begin),
          list.spans};
}

std::span<const kernels::CopySpan> StepTables::prefixes(int layer) const {
  return Spans(layers_[layer].prefixes);
}

std::span<const kernels::CopySpan> StepTables::stores(int layer) const {
  return Spans(layers_[layer].stores);
}

}  // namespace heatkv::model
