// The VAE's decoder on a GPU with its coarse levels as CUDA graphs: their
// kernels take microseconds, and the host needs longer to launch them one by
// one.  Fine levels are computed as VaeDecoder does, and take far longer than
// their launches.  All of it works in the arena (work_arena.h).
//
// There is a graph for every size of codes.  What they make lies at one place
// beside the arena, since fine levels are computed in the arena while it is
// read.
//
// Used by one thread, with the weights' device as the current one.

#ifndef MODEL_CUDA_RECORDED_DECODER_H_
#define MODEL_CUDA_RECORDED_DECODER_H_

#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAGraph.h>

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "model/cuda/work_arena.h"
#include "model/vae/decoder.h"

namespace heatkv::model {

class RecordedDecoder {
 public:
  // Records levels of at most `most_pixels` pixels that are not in bands with
  // `tile`, which is VaeDecoder::Decode's.  Both others outlive this.
  RecordedDecoder(const VaeDecoder* vae, WorkArena* arena, int tile,
                  std::int64_t most_pixels);

  // VaeDecoder::Decode of codes of a GPU, byte by byte, for use while there is
  // `use` of the arena.  The result is good until `use` ends or the next call
  // comes, whichever is first.  With the first codes of a size the coarse
  // levels are computed once before they are recorded, by which libraries set
  // themselves up.
  at::Tensor Decode(const at::Tensor& codes, const WorkArena::Use& use);

  // Sizes of codes that are recorded.
  int recordings() const { return static_cast<int>(recordings_.size()); }

 private:
  // Neither tensor owns its memory.
  struct Recording {
    at::Tensor codes;
    at::Tensor result;
    at::cuda::CUDAGraph graph;
  };

  std::unique_ptr<Recording> RecordLike(const at::Tensor& codes, int levels);

  const VaeDecoder* vae_;
  WorkArena* arena_;
  int tile_;
  std::int64_t most_pixels_;
  at::Tensor result_;  // bytes, for the largest of all results
  // By the codes' height and width.
  std::map<std::pair<std::int64_t, std::int64_t>, std::unique_ptr<Recording>>
      recordings_;
};

}  // namespace heatkv::model

#endif  // MODEL_CUDA_RECORDED_DECODER_H_
