#include "model/cuda/step_tables.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/check.h"

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
                       std::span<const TextRange> texts) {
  HEATKV_CHECK(!plans.empty());
  HEATKV_CHECK_LE(plans.size(), capacity);
  const cache::StepPlan& first = *plans[0];
  rows_ = std::int64_t{capacity} * first.branches;
  sequences_ = rows_ * first.heads;
  HEATKV_CHECK_EQ(texts.size(), rows_);

  const auto append_multiples = [&](std::int64_t count) {
    for (std::int64_t i = 0; i <= count; ++i) {
      values_.push_back(static_cast<std::int32_t>(i * tokens));
    }
  };
  const auto here = [&] { return static_cast<std::int64_t>(values_.size()); };
  append_multiples(sequences_);
  text_query_begin_ = here();
  append_multiples(rows_);
  text_key_begin_ = here();
  for (const TextRange& text : texts) values_.push_back(text.begin);
  values_.push_back(texts.back().begin + texts.back().tokens);
  text_tokens_ = here();
  for (const TextRange& text : texts) values_.push_back(text.tokens);
  layers_begin_ = here();
  std::size_t all_spans = 0;
  for (const cache::StepPlan* plan : plans) {
    all_spans += plan->prefix.size() + plan->store.size();
  }
  values_.reserve(LayerBegin(first.layers) + 3 * all_spans);
  values_.resize(LayerBegin(first.layers));

  std::vector<std::int32_t> prefixes;
  std::vector<std::int32_t> stores;
  for (int layer = 0; layer < first.layers; ++layer) {
    prefixes.clear();
    stores.clear();
    std::int64_t place = LayerBegin(layer) + 4;
    std::int64_t row = 0;
    for (int slot = 0; slot < capacity; ++slot) {
      const cache::StepPlan* const plan =
          slot < plans.size() ? plans[slot] : nullptr;
      for (int branch = 0; branch < first.branches; ++branch) {
        for (int head = 0; head < first.heads; ++head) {
          values_[place] = static_cast<std::int32_t>(row);
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
          values_[place + sequences_ + 1] = static_cast<std::int32_t>(row);
          row += tokens;
          ++place;
        }
      }
    }
    values_[place] = static_cast<std::int32_t>(row);
    most_staging_rows_ = std::max(most_staging_rows_, row);
    std::int64_t list = LayerBegin(layer);
    for (const std::vector<std::int32_t>* spans : {&prefixes, &stores}) {
      values_[list++] = static_cast<std::int32_t>(values_.size());
      values_[list++] = static_cast<std::int32_t>(spans->size() / 3);
      values_.insert(values_.end(), spans->begin(), spans->end());
    }
  }
}

// A layer has its two lists, key_begin and current.
std::int64_t StepTables::LayerBegin(int layer) const {
  // Lists are read as pairs.
  const std::int64_t first = (layers_begin_ + 1) / 2 * 2;
  const std::int64_t size = (4 + 2 * sequences_ + 1 + 1) / 2 * 2;
  return first + layer * size;
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

at::Tensor StepTables::text_tokens() const { return Part(text_tokens_, rows_); }

at::Tensor StepTables::key_begin(int layer) const {
  return Part(LayerBegin(layer) + 4, sequences_ + 1);
}

const std::int32_t* StepTables::table() const {
  return table_.const_data_ptr<int>();
}

const std::int32_t* StepTables::current(int layer) const {
  return table() + LayerBegin(layer) + 4 + sequences_ + 1;
}

const kernels::SpanList* StepTables::prefixes(int layer) const {
  return reinterpret_cast<const kernels::SpanList*>(table() +
                                                    LayerBegin(layer));
}

const kernels::SpanList* StepTables::stores(int layer) const {
  return prefixes(layer) + 1;
}

}  // namespace heatkv::model
