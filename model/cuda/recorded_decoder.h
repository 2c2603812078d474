// The VAE's decoder on a GPU with its coarse levels as CUDA graphs: their
// kernels take microseconds, and the host needs longer to launch them one by
// one.  Fine levels are computed as VaeDecoder does, and take far longer than
// their launches.
//
// There is a graph for every size of codes.  It reads codes at a place that
// stays and leaves its result in memory of the Recorder, which all its
// recordings share, steps included: that is read, or overwritten, before the
// next replay of any of them.  So results take nothing either while they are
// not in use.
//
// All work goes to torch's current stream, which must be the same at every
// call.  Used by one thread, with the weights' device as the current one.

#ifndef MODEL_CUDA_RECORDED_DECODER_H_
#define MODEL_CUDA_RECORDED_DECODER_H_

#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAGraph.h>

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "model/cuda/recorded_step.h"
#include "model/vae/decoder.h"

namespace heatkv::model {

class RecordedDecoder {
 public:
  // Records levels of at most `most_pixels` pixels that are not in bands with
  // `tile`, which is VaeDecoder::Decode's.  Both others outlive this.
  RecordedDecoder(const VaeDecoder* vae, Recorder* recorder, int tile,
                  std::int64_t most_pixels);

  // VaeDecoder::Decode of codes of a GPU, byte by byte.  The result is good
  // until anything of the recorder's is replayed.  The first codes of a size
  // are decoded without a graph, by which libraries set themselves up; then it
  // is recorded.
  at::Tensor Decode(const at::Tensor& codes);

  // Sizes of codes that are recorded.
  int recordings() const { return static_cast<int>(recordings_.size()); }

 private:
  struct Recording {
    at::Tensor codes;
    at::Tensor result;  // does not own its memory
    at::cuda::CUDAGraph graph;
  };

  std::unique_ptr<Recording> RecordLike(const at::Tensor& codes,
                                        int levels) const;

  const VaeDecoder* vae_;
  Recorder* recorder_;
  int tile_;
  std::int64_t most_pixels_;
  // By the codes' height and width.
  std::map<std::pair<std::int64_t, std::int64_t>, std::unique_ptr<Recording>>
      recordings_;
};

}  // namespace heatkv::model

#endif  // MODEL_CUDA_RECORDED_DECODER_H_
