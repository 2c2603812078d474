// A step of one shape recorded once as a CUDA graph and replayed for every
// group of that shape: one launch instead of a thousand, which is what small
// scales spend their time on.
//
// Owns the memory that the graph reads its inputs from and writes its logits
// to; logits are good until the next replay of any step.

#ifndef MODEL_CUDA_RECORDED_STEP_H_
#define MODEL_CUDA_RECORDED_STEP_H_

#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>
#include <functional>
#include <map>

#include "model/cuda/group_texts.h"
#include "model/cuda/step_tables.h"

namespace heatkv::model {

// What all recordings share: the stream they are made on, the memory of what
// lies between inputs and logits, and that of texts, which every replay fills
// anew.
class Recorder {
 public:
  using Pool = decltype(at::cuda::graph_pool_handle());

  Recorder();
  const c10::cuda::CUDAStream& stream() const { return stream_; }
  const Pool& pool() const { return pool_; }
  // GroupTexts::keys_values with room for the layout's tokens and as many again
  // at most.
  at::Tensor TextsFor(const TextLayout& layout);

 private:
  c10::cuda::CUDAStream stream_;
  Pool pool_;
  std::map<std::uint64_t, at::Tensor> texts_;  // by their room
};

class RecordedStep {
 public:
  // Computes logits from inputs at fixed places.
  using Body = std::function<at::Tensor(
      const at::Tensor& x, const GroupTexts& texts, const StepTables& tables)>;

  // Records `body` for inputs of these shapes, without computing anything.
  RecordedStep(Recorder& recorder, const at::Tensor& x, const TextLayout& texts,
               const StepTables& tables, const Body& body);

  // Whether tables and texts of a group of the shape fit into the places.
  bool Fits(const StepTables& tables, const TextLayout& texts) const;

  // REQUIRES: Fits.
  at::Tensor Replay(const at::Tensor& x, const TextLayout& texts,
                    const StepTables& tables);

 private:
  void Fill(const at::Tensor& x, const TextLayout& texts,
            const StepTables& tables);

  at::Tensor x_;
  GroupTexts texts_;
  StepTables tables_;  // whose places are those of the recording
  at::Tensor table_;
  at::Tensor logits_;
  at::cuda::CUDAGraph graph_;
};

}  // namespace heatkv::model

#endif  // MODEL_CUDA_RECORDED_STEP_H_
