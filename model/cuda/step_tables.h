// The plans of a group's images in the form in which a GPU step reads them:
// where each head's sequence begins in staging, and which spans go from the
// arena to staging and back.  Built once a step on the host, uploaded at once.
// All but the spans has a place that depends on the group's shape alone, so
// that a recorded step reads the tables of another group of its shape.
//
// A sequence is a (slot, branch, head) of the group, in that order.  A group
// has `capacity` slots whether or not there are images for all; slots without
// one keep nothing and store nothing.

#ifndef MODEL_CUDA_STEP_TABLES_H_
#define MODEL_CUDA_STEP_TABLES_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "cache/step_plan.h"
#include "model/kernels/span_copy.h"

namespace heatkv::model {

class StepTables {
 public:
  // Where the text of every (slot, branch) lies among those of the group.
  struct TextRange {
    int begin = 0;
    int tokens = 0;
  };

  // `tokens` of the scale.  REQUIRES: 1 <= plans.size() <= capacity; a row of a
  // plan stores all tokens or none.
  StepTables(std::span<const cache::StepPlan* const> plans, int capacity,
             std::int64_t tokens, std::span<const TextRange> texts);

  // What is to be uploaded, and where it is now.
  std::span<const std::int32_t> values() const { return values_; }
  void Place(const at::Tensor& table) { table_ = table; }

  // int32 [sequences + 1], multiples of `tokens`.
  at::Tensor query_begin() const;
  // int32 [rows + 1]: the same for cross-attention, and where texts begin;
  // int32 [rows]: their tokens.
  at::Tensor text_query_begin() const;
  at::Tensor text_key_begin() const;
  at::Tensor text_tokens() const;

  std::int64_t sequences() const { return sequences_; }
  // Rows of staging that the largest layer takes.
  std::int64_t most_staging_rows() const { return most_staging_rows_; }

  // Of a layer: int32 [sequences + 1], where each sequence begins in staging,
  // and (on the GPU) the row at which its current scale does.
  at::Tensor key_begin(int layer) const;
  const std::int32_t* current(int layer) const;
  // Kept prefixes (arena to staging) and survivors (staging to arena), on the
  // GPU; they lie in table().
  const kernels::SpanList* prefixes(int layer) const;
  const kernels::SpanList* stores(int layer) const;
  const std::int32_t* table() const;

 private:
  // Places in the table.
  std::int64_t LayerBegin(int layer) const;
  at::Tensor Part(std::int64_t begin, std::int64_t size) const;

  std::int64_t sequences_;
  std::int64_t rows_;
  std::int64_t most_staging_rows_ = 0;
  std::int64_t text_query_begin_ = 0;
  std::int64_t text_key_begin_ = 0;
  std::int64_t text_tokens_ = 0;
  std::int64_t layers_begin_ = 0;
  std::vector<std::int32_t> values_;
  at::Tensor table_;  // int32, on the GPU
};

}  // namespace heatkv::model

#endif  // MODEL_CUDA_STEP_TABLES_H_
