#include "model/cuda/step_table_layout.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "cache/geometry.h"
#include "model/kernels/span_copy.h"

namespace heatkv::model {
namespace {

using cache::BlockSpan;
using cache::kBlockTokens;
using cache::StepPlan;

constexpr int kSpanValues = 3;
constexpr int kListValues = 2;
constexpr int kTextValues = 4;
static_assert(sizeof(kernels::CopySpan) == kSpanValues * sizeof(std::int32_t));
static_assert(sizeof(kernels::SpanList) == kListValues * sizeof(std::int32_t));
static_assert(sizeof(kernels::RowText) == kTextValues * sizeof(std::int32_t));

// Lists are read as pairs, texts as fours.
std::int64_t Even(std::int64_t size) { return (size + 1) / 2 * 2; }
std::int64_t WholeTexts(std::int64_t size) {
  return (size + kTextValues - 1) / kTextValues * kTextValues;
}

// No fewer spans than the tokens of one scale in one sequence can have: those
// of a run that begins at the last slot of a block (cache/head_blocks.h).
std::int64_t MostSpans(std::int64_t tokens) {
  return (tokens - 1 + kBlockTokens - 1) / kBlockTokens + 1;
}

// Spans of one layer of a plan, of all its rows.
std::int64_t LayerSpans(const StepPlan& plan,
                        const std::vector<std::int32_t>& begins, int layer) {
  return begins[plan.row(layer + 1, 0, 0)] - begins[plan.row(layer, 0, 0)];
}

// Writes spans, which lie one behind the other from `row` of staging on, and
// returns the row behind them.
std::int32_t Put(std::span<const BlockSpan> spans, std::int32_t row,
                 std::int32_t** out) {
  std::int32_t* to = *out;
  for (const BlockSpan& span : spans) {
    to[0] = span.block * 2 * kBlockTokens + span.first;
    to[1] = row;
    to[2] = span.tokens;
    row += span.tokens;
    to += kSpanValues;
  }
  *out = to;
  return row;
}

}  // namespace

StepTableLayout::StepTableLayout(const GroupShape& shape)
    : shape_(shape),
      rows_(std::int64_t{shape.capacity} * shape.branches),
      sequences_(rows_ * shape.heads),
      texts_begin_(WholeTexts(sequences_ + 1)),
      layers_begin_(texts_begin_ + kTextValues * rows_),
      layer_size_(Even(2 * kListValues + 2 * sequences_ + 1)) {}

std::int64_t StepTableLayout::Values(
    std::span<const StepPlan* const> plans) const {
  std::size_t all = 0;
  for (const StepPlan* plan : plans) {
    all += plan->prefix.size() + plan->store.size();
  }
  return spans() + kSpanValues * static_cast<std::int64_t>(all);
}

std::int64_t StepTableLayout::MostPrefixSpans() const {
  std::int64_t of_sequence = 0;
  for (const std::int64_t tokens : shape_.earlier) {
    of_sequence += MostSpans(tokens);
  }
  return sequences_ * of_sequence;
}

std::int64_t StepTableLayout::MostStoreSpans() const {
  return shape_.is_last ? 0 : sequences_ * MostSpans(shape_.tokens);
}

std::int64_t StepTableLayout::MostValues() const {
  return spans() +
         kSpanValues * shape_.layers * (MostPrefixSpans() + MostStoreSpans());
}

std::int64_t StepTableLayout::Write(std::span<const StepPlan* const> plans,
                                    std::span<const kernels::RowText> texts,
                                    std::span<std::int32_t> values) const {
  HEATKV_CHECK(!plans.empty());
  HEATKV_CHECK_LE(plans.size(), shape_.capacity);
  HEATKV_CHECK_EQ(texts.size(), rows_);
  HEATKV_CHECK_LE(Values(plans), values.size());
  for (const StepPlan* plan : plans) {
    HEATKV_CHECK_EQ(plan->branches, shape_.branches);
    HEATKV_CHECK_EQ(plan->layers, shape_.layers);
    HEATKV_CHECK_EQ(plan->heads, shape_.heads);
  }
  const auto tokens = static_cast<std::int32_t>(shape_.tokens);
  std::int32_t* const table = values.data();
  for (std::int64_t i = 0; i <= sequences_; ++i) {
    table[query_begin() + i] = static_cast<std::int32_t>(i) * tokens;
  }
  std::memcpy(table + texts_begin_, texts.data(), texts.size_bytes());

  const int plan_rows = shape_.branches * shape_.heads;
  const auto empty_rows =
      static_cast<std::int64_t>((shape_.capacity - plans.size()) * plan_rows);
  const std::int64_t most_prefixes = MostPrefixSpans();
  const std::int64_t most_stores = MostStoreSpans();
  std::int64_t most = 0;
  std::int64_t spans_begin = spans();
  for (int layer = 0; layer < shape_.layers; ++layer) {
    std::int64_t prefixes = 0;
    std::int64_t stores = 0;
    for (const StepPlan* plan : plans) {
      prefixes += LayerSpans(*plan, plan->prefix_begin, layer);
      stores += LayerSpans(*plan, plan->store_begin, layer);
    }
    HEATKV_CHECK_LE(prefixes, most_prefixes) << "layer " << layer;
    HEATKV_CHECK_LE(stores, most_stores) << "layer " << layer;
    std::int32_t* list = table + lists(layer);
    std::int32_t* prefix = table + spans_begin;
    list[0] = static_cast<std::int32_t>(spans_begin);
    list[1] = static_cast<std::int32_t>(prefixes);
    spans_begin += kSpanValues * prefixes;
    std::int32_t* store = table + spans_begin;
    list[2] = static_cast<std::int32_t>(spans_begin);
    list[3] = static_cast<std::int32_t>(stores);
    spans_begin += kSpanValues * stores;

    std::int32_t* begin = table + key_begin(layer);
    std::int32_t* now = table + current(layer);
    std::int32_t row = 0;
    for (const StepPlan* plan : plans) {
      const int first = plan->row(layer, 0, 0);
      for (int i = first; i < first + plan_rows; ++i) {
        *begin++ = row;
        row = Put(plan->prefix_of(i), row, &prefix);
        *now++ = row;
        const std::int32_t end = Put(plan->store_of(i), row, &store);
        HEATKV_CHECK(end == row || end == row + tokens)
            << "layer " << layer << ", row " << i - first << " stores "
            << end - row << " of " << tokens << " tokens";
        row += tokens;
      }
    }
    for (std::int64_t i = 0; i < empty_rows; ++i) {
      *begin++ = row;
      *now++ = row;
      row += tokens;
    }
    *begin = row;
    most = std::max<std::int64_t>(most, row);
  }
  return most;
}

}  // namespace heatkv::model
