// A group's tables (model/cuda/step_table_layout.h) as a GPU step reads them:
// the same places, in a tensor on the GPU whose values may come later.  So a
// step can be recorded once and read the tables of every group of its shape.
//
// A plain value that shares its tensor.

#ifndef MODEL_CUDA_STEP_TABLES_H_
#define MODEL_CUDA_STEP_TABLES_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/cuda/step_table_layout.h"
#include "model/kernels/cross_attention.h"
#include "model/kernels/span_copy.h"

namespace heatkv::model {

class StepTables {
 public:
  // `table` int32 [any], on the GPU, at least as large as what is read.
  StepTables(const StepTableLayout& layout, const at::Tensor& table);

  // int32 [sequences + 1], multiples of the scale's tokens.
  at::Tensor query_begin() const;
  // Of each row, on the GPU.
  const kernels::RowText* texts() const;

  std::int64_t sequences() const { return layout_.sequences(); }
  int layers() const { return layout_.shape().layers; }
  // How many values a layer's tables lie behind the same ones of the layer
  // before.
  std::int64_t layer_stride() const {
    return layout_.lists(1) - layout_.lists(0);
  }

  // Of a layer: int32 [sequences + 1], where each sequence begins in staging,
  // and (on the GPU) the row at which its current scale does.
  at::Tensor key_begin(int layer) const;
  const std::int32_t* current(int layer) const;
  // Kept prefixes (arena to staging) and survivors (staging to arena): what a
  // copy of them has to know of the table.
  kernels::SpanCopy prefixes(int layer) const;
  kernels::SpanCopy stores(int layer) const;

 private:
  at::Tensor Part(std::int64_t begin, std::int64_t size) const;
  const std::int32_t* table() const;
  const kernels::SpanList* lists(int layer) const;

  StepTableLayout layout_;
  at::Tensor table_;
};

}  // namespace heatkv::model

#endif  // MODEL_CUDA_STEP_TABLES_H_
