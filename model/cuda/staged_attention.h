// Self-attention of a group at one scale, over keys and values that lie in
// staging: FlashAttention 2 out of LibTorch, the kernel for Hopper GPUs, or the
// one for short sequences.
// They want queries in different orders and need different tables, which is
// what this interface hides.
//
// Used by one thread; work goes to torch's current stream.  An object lives as
// long as a step is enqueued, and reads of `tables` only what a recorded step
// may find changed.

#ifndef MODEL_CUDA_STAGED_ATTENTION_H_
#define MODEL_CUDA_STAGED_ATTENTION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "model/cuda/attention_choice.h"
#include "model/cuda/step_tables.h"

namespace heatkv::model {

// InvalidArgument if `choice` does not run with heads of that width on the
// current device, else OK.
absl::Status CheckAttention(AttentionChoice choice, std::int64_t head_width);

// What `choice` comes down to for sequences of at most `most_keys` keys: not
// kFastest.  REQUIRES: CheckAttention(choice, head_width) is OK.
AttentionChoice AttentionFor(AttentionChoice choice, std::int64_t head_width,
                             std::int64_t most_keys);

class StagedAttention {
 public:
  struct Shape {
    std::int64_t rows = 0;
    std::int64_t heads = 0;
    std::int64_t tokens = 0;
    std::int64_t most_keys = 0;  // of a sequence
  };

  // `keys` and `values` bf16 [staging rows, 1, head width], at least 2 rows,
  // which layer after layer fills.  REQUIRES: CheckAttention is OK.  What lies
  // in them before the first one does does not matter.
  static std::unique_ptr<StagedAttention> Create(AttentionChoice choice,
                                                 const StepTables& tables,
                                                 const Shape& shape,
                                                 const at::Tensor& keys,
                                                 const at::Tensor& values);
  virtual ~StagedAttention() = default;

  // bf16, to be filled before each layer: [rows * tokens, heads, head width] if
  // queries_by_token(), else [rows * heads * tokens, 1, head width].  It may
  // have more rows than that.
  const at::Tensor& queries() const { return queries_; }
  virtual bool queries_by_token() const = 0;

  // bf16 [rows * tokens, heads * head width].
  virtual at::Tensor Attend(int layer) = 0;

 protected:
  explicit StagedAttention(at::Tensor queries) : queries_(std::move(queries)) {}

 private:
  at::Tensor queries_;
};

}  // namespace heatkv::model

#endif  // MODEL_CUDA_STAGED_ATTENTION_H_
