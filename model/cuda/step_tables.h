// The plans of a group's images in the form in which a GPU step reads them:
// where each head's sequence begins in staging, and which spans go from the
// arena to staging and back.  Built once a step on the host, uploaded at once.
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
  // `tokens` of the scale; text_tokens[row] of the text of every (slot,
  // branch).  REQUIRES: 1 <= plans.size() <= capacity; a row of a plan stores
  // all tokens or none.
  StepTables(std::span<const cache::StepPlan* const> plans, int capacity,
             std::int64_t tokens, std::span<const int> text_tokens);

  // int32 [sequences + 1], multiples of `tokens`.
  at::Tensor query_begin() const;
  // int32 [rows + 1]: the same for cross-attention, and of the texts.
  at::Tensor text_query_begin() const;
  at::Tensor text_key_begin() const;

  // Rows of staging that the largest layer takes.
  std::int64_t most_staging_rows() const { return most_staging_rows_; }

  // Of a layer: rows of staging that it takes, int32 [sequences + 1], and the
  // row at which the current scale of each sequence begins.
  std::int64_t staging_rows(int layer) const { return layers_[layer].rows; }
  at::Tensor key_begin(int layer) const;
  const std::int32_t* current(int layer) const;
  // Kept prefixes (arena to staging) and survivors (staging to arena).
  std::span<const kernels::CopySpan> prefixes(int layer) const;  // on the GPU
  std::span<const kernels::CopySpan> stores(int layer) const;    // on the GPU

 private:
  struct List {
    std::int64_t begin = 0;  // in table_
    std::size_t spans = 0;
  };
  struct Layer {
    std::int64_t rows = 0;
    std::int64_t key_begin = 0;  // in table_
    std::int64_t current = 0;
    List prefixes;
    List stores;
  };

  at::Tensor Part(std::int64_t begin, std::int64_t size) const;
  std::span<const kernels::CopySpan> Spans(const List& list) const;

  std::int64_t sequences_;
  std::int64_t rows_;
  std::int64_t most_staging_rows_ = 0;
  std::int64_t text_query_begin_ = 0;
  std::int64_t text_key_begin_ = 0;
  std::vector<Layer> layers_;
  at::Tensor table_;  // int32, on the GPU
};

}  // namespace heatkv::model

#endif  // MODEL_CUDA_STEP_TABLES_H_
