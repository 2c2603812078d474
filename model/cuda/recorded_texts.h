// Prompts' texts on a GPU by CUDA graphs: one launch instead of hundreds, which
// is what encoding a short prompt spends its time on.
//
// A text is padded to its bucket (model/text/token_buckets.h), and there is a
// graph for every bucket: text encoder, pooling and modulations, and all
// layers' keys and values, from token ids and their number at places that stay.
// The padding is hidden by minus infinity in attention, as the authors hide it.
// What comes of it lies in the arena (work_arena.h), from which the text's own
// tokens are copied.  A text always goes the same way, whatever else is being
// served.
//
// All work goes to torch's current stream, which must be the same at every
// call. Used by one thread, with the weights' device as the current one.

#ifndef MODEL_CUDA_RECORDED_TEXTS_H_
#define MODEL_CUDA_RECORDED_TEXTS_H_

#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAGraph.h>

#include <map>
#include <memory>
#include <vector>

#include "model/cuda/upload_buffers.h"
#include "model/cuda/work_arena.h"
#include "model/infinity/transformer.h"
#include "model/text/t5_encoder.h"

namespace heatkv::model {

class RecordedTexts {
 public:
  // Of texts of at most `max_tokens` tokens.  Both models are on the current
  // device and outlive this, as does the arena.
  RecordedTexts(const T5Encoder* encoder,
                const InfinityTransformer* transformer, int max_tokens,
                WorkArena* arena);

  // Records what is not recorded yet.
  void RecordAll();

  // The text of 1 to max_tokens ids, recording its bucket if need be.
  TextCondition Encode(const std::vector<int>& ids);

 private:
  // A graph and what it leaves behind, good until anything else is computed in
  // the arena, whose memory it is.
  struct Bucket {
    at::cuda::CUDAGraph graph;
    InfinityTransformer::TextRows text;
  };

  // The bucket of `rows` rows, which is recorded if it is new.
  Bucket& Recorded(int rows);
  // What is recorded: reads the places.
  InfinityTransformer::TextRows Compute(int rows) const;

  const T5Encoder* encoder_;
  const InfinityTransformer* transformer_;
  int max_tokens_;
  WorkArena* arena_;
  at::Tensor position_bias_;  // of the largest bucket
  at::Tensor positions_;      // int32, 0, 1, ...
  at::Tensor input_;          // int32, the number of ids and they
  UploadBuffers uploads_;
  std::map<int, std::unique_ptr<Bucket>> buckets_;  // by rows
};

}  // namespace heatkv::model

#endif  // MODEL_CUDA_RECORDED_TEXTS_H_
