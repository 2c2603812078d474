#include "model/cuda/step_tables.h"

#include <ATen/ATen.h>

#include "base/check.h"

namespace heatkv::model {

StepTables::StepTables(const StepTableLayout& layout, const at::Tensor& table)
    : layout_(layout), table_(table) {
  HEATKV_CHECK(table_.scalar_type() == at::kInt && table_.is_contiguous());
  HEATKV_CHECK_LE(layout_.spans(), table_.numel());
}

at::Tensor StepTables::Part(std::int64_t begin, std::int64_t size) const {
  return table_.narrow(0, begin, size);
}

at::Tensor StepTables::query_begin() const {
  return Part(layout_.query_begin(), layout_.sequences() + 1);
}

at::Tensor StepTables::key_begin(int layer) const {
  return Part(layout_.key_begin(layer), layout_.sequences() + 1);
}

const std::int32_t* StepTables::table() const {
  return table_.const_data_ptr<int>();
}

const kernels::RowText* StepTables::texts() const {
  return reinterpret_cast<const kernels::RowText*>(table() + layout_.texts());
}

const std::int32_t* StepTables::current(int layer) const {
  return table() + layout_.current(layer);
}

const kernels::SpanList* StepTables::lists(int layer) const {
  return reinterpret_cast<const kernels::SpanList*>(table() +
                                                    layout_.lists(layer));
}

kernels::SpanCopy StepTables::prefixes(int layer) const {
  return {.table = table(),
          .list = lists(layer),
          .most_spans = static_cast<int>(layout_.MostPrefixSpans())};
}

kernels::SpanCopy StepTables::stores(int layer) const {
  return {.table = table(),
          .list = lists(layer) + 1,
          .most_spans = static_cast<int>(layout_.MostStoreSpans())};
}

}  // namespace heatkv::model
