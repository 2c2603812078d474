// A step of one shape recorded once as a CUDA graph and replayed for every
// group of that shape: one launch instead of a thousand, which is what small
// scales spend their time on.
//
// A recorded step reads its inputs from places that stay.  Whoever replays it
// fills them before, on the stream on which it replays: x(), modulations() and
// table(), which the Recorder owns and other steps share, since steps run one
// after the other.  Keys and values of texts are read where the table says
// (model/cuda/row_texts.h).  Logits are good until the next replay of any step.

#ifndef MODEL_CUDA_RECORDED_STEP_H_
#define MODEL_CUDA_RECORDED_STEP_H_

#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "model/cuda/placed_modulations.h"
#include "model/cuda/step_tables.h"

namespace heatkv::model {

// What all recordings share, those of decodings (recorded_decoder.h) included:
// the stream they are made on, the memory of what lies between inputs and
// results, and places for inputs, modulations and tables.  Those grow by
// doubling, and what is there stays.
class Recorder {
 public:
  using Pool = decltype(at::cuda::graph_pool_handle());

  Recorder();
  const c10::cuda::CUDAStream& stream() const { return stream_; }
  const Pool& pool() const { return pool_; }

  // Places with room for `rows` rows of texts like `like`.
  PlacedModulations& ModulationsFor(const TextCondition& like,
                                    std::int64_t rows);
  // int32 on the current device, with room for `values`.
  at::Tensor TableFor(std::int64_t values);
  // A place like `x`, which is not read.
  at::Tensor InputLike(const at::Tensor& x);

 private:
  c10::cuda::CUDAStream stream_;
  Pool pool_;
  // By their rooms, in rows and in values.
  std::map<std::uint64_t, PlacedModulations> modulations_;
  std::map<std::uint64_t, at::Tensor> tables_;
  std::map<std::pair<at::ScalarType, std::uint64_t>, at::Tensor> inputs_;
};

class RecordedStep {
 public:
  // Computes logits from inputs at fixed places.
  using Body = std::function<at::Tensor(const at::Tensor& x,
                                        const GroupModulations& modulations,
                                        const StepTables& tables)>;

  // Records `body` for an input like `x`, which is not read, texts like `like`,
  // and all tables of the shape, without computing anything.
  RecordedStep(Recorder& recorder, const at::Tensor& x,
               const TextCondition& like, const StepTableLayout& layout,
               const Body& body);

  const at::Tensor& x() const { return x_; }
  PlacedModulations& modulations() { return modulations_; }
  const at::Tensor& table() const { return table_; }

  // Enqueues the step on the current stream.
  at::Tensor Replay();

 private:
  at::Tensor x_;
  PlacedModulations& modulations_;
  at::Tensor table_;
  at::Tensor logits_;
  at::cuda::CUDAGraph graph_;
};

}  // namespace heatkv::model

#endif  // MODEL_CUDA_RECORDED_STEP_H_
