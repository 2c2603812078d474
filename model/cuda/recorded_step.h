// A step of one shape recorded once as a CUDA graph and replayed for every
// group of that shape: one launch instead of a thousand, which is what small
// scales spend their time on.
//
// A recorded step reads its inputs from places that stay.  Whoever replays it
// fills them right before, on the stream on which it replays: input(), which
// lies in the arena (work_arena.h), and modulations() and table(), which the
// Recorder owns and other steps share, since steps run one after the other.
// Keys and values of texts are read where the table says
// (model/cuda/row_texts.h).

#ifndef MODEL_CUDA_RECORDED_STEP_H_
#define MODEL_CUDA_RECORDED_STEP_H_

#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAGraph.h>

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "model/cuda/placed_modulations.h"
#include "model/cuda/step_tables.h"
#include "model/cuda/work_arena.h"

namespace heatkv::model {

// What all recorded steps share: the arena that they work in, and places for
// modulations and tables.  Those grow by doubling, and what is there stays.
class Recorder {
 public:
  // `arena` outlives this.
  explicit Recorder(WorkArena* arena) : arena_(arena) {}
  WorkArena& arena() { return *arena_; }

  // Places with room for `rows` rows of texts like `like`.
  PlacedModulations& ModulationsFor(const TextCondition& like,
                                    std::int64_t rows);
  // int32 on the current device, with room for `values`.
  at::Tensor TableFor(std::int64_t values);

 private:
  WorkArena* arena_;
  // By their rooms, in rows and in values.
  std::map<std::uint64_t, PlacedModulations> modulations_;
  std::map<std::uint64_t, at::Tensor> tables_;
};

class RecordedStep {
 public:
  // Computes logits from inputs at fixed places.  May write over the input.
  using Body = std::function<at::Tensor(const at::Tensor& input,
                                        const GroupModulations& modulations,
                                        const StepTables& tables)>;

  // Records `body` for a float32 input of that shape on the current device,
  // texts like `like`, and all tables of the shape, without computing anything.
  RecordedStep(Recorder& recorder, const std::vector<std::int64_t>& input_shape,
               const TextCondition& like, const StepTableLayout& layout,
               const Body& body);

  const at::Tensor& input() const { return input_; }
  PlacedModulations& modulations() { return modulations_; }
  const at::Tensor& table() const { return table_; }

  // Enqueues the step on the current stream.  Its logits are good until
  // anything else is computed in the arena.
  at::Tensor Replay();

 private:
  PlacedModulations& modulations_;
  at::Tensor table_;
  at::Tensor input_;   // does not own its memory
  at::Tensor logits_;  // nor does this
  at::cuda::CUDAGraph graph_;
};

}  // namespace heatkv::model

#endif  // MODEL_CUDA_RECORDED_STEP_H_
