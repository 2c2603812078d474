#include "model/cuda/recorded_decoder.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>

#include <algorithm>

#include "model/cuda/graph_recording.h"

namespace heatkv::model {
namespace {

// The same values at the same place, which may be given back.
at::Tensor Borrowed(const at::Tensor& tensor) {
  return at::for_blob(tensor.mutable_data_ptr(), tensor.sizes())
      .strides(tensor.strides())
      .options(tensor.options())
      .target_device(tensor.device())
      .make_tensor();
}

}  // namespace

RecordedDecoder::RecordedDecoder(const VaeDecoder* vae, Recorder* recorder,
                                 int tile, std::int64_t most_pixels)
    : vae_(vae), recorder_(recorder), tile_(tile), most_pixels_(most_pixels) {
  if (tile > 0) {
    most_pixels_ = std::min(most_pixels, std::int64_t{tile} * tile);
  }
}

at::Tensor RecordedDecoder::Decode(const at::Tensor& codes) {
  const int levels =
      vae_->LevelsUpTo(codes.size(2), codes.size(3), most_pixels_);
  if (levels == 0) return vae_->Decode(codes, tile_);
  const auto found = recordings_.find({codes.size(2), codes.size(3)});
  if (found == recordings_.end()) {
    at::Tensor x = vae_->Begin(codes, levels);
    recordings_.emplace(std::pair(codes.size(2), codes.size(3)),
                        RecordLike(codes, levels));
    return vae_->Finish(std::move(x), levels, tile_);
  }
  Recording& recording = *found->second;
  recording.codes.copy_(codes);
  recording.graph.replay();
  return vae_->Finish(recording.result, levels, tile_);
}

std::unique_ptr<RecordedDecoder::Recording> RecordedDecoder::RecordLike(
    const at::Tensor& codes, int levels) const {
  auto recording = std::make_unique<Recording>();
  recording->codes = recorder_->InputLike(codes);
  const c10::cuda::CUDAStreamGuard guard(recorder_->stream());
  // Given back to the recorder's memory at once: what is computed there is
  // computed before the next replay, and recordings are not.
  const at::Tensor result = Record(recording->graph, recorder_->pool(), [&] {
    return vae_->Begin(recording->codes, levels);
  });
  recording->result = Borrowed(result);
  return recording;
}

}  // namespace heatkv::model
