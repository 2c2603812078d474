#include "model/cuda/recorded_decoder.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/check.h"

namespace heatkv::model {

RecordedDecoder::RecordedDecoder(const VaeDecoder* vae, WorkArena* arena,
                                 int tile, std::int64_t most_pixels)
    : vae_(vae), arena_(arena), tile_(tile), most_pixels_(most_pixels) {
  if (tile > 0) {
    most_pixels_ = std::min(most_pixels, std::int64_t{tile} * tile);
  }
  result_ = vae->RoomForBegin(most_pixels_);
}

at::Tensor RecordedDecoder::Decode(const at::Tensor& codes,
                                   const WorkArena::Use& /*use*/) {
  const int levels =
      vae_->LevelsUpTo(codes.size(2), codes.size(3), most_pixels_);
  if (levels == 0) return vae_->Decode(codes, tile_);
  std::unique_ptr<Recording>& recording =
      recordings_[{codes.size(2), codes.size(3)}];
  if (recording == nullptr) recording = RecordLike(codes, levels);
  recording->codes.copy_(codes);
  recording->graph.replay();
  return vae_->Finish(recording->result, levels, tile_);
}

std::unique_ptr<RecordedDecoder::Recording> RecordedDecoder::RecordLike(
    const at::Tensor& codes, int levels) {
  auto recording = std::make_unique<Recording>();
  // Nobody else's in this recording.
  const at::Tensor place = codes.clone(at::MemoryFormat::Contiguous);
  {
    const at::Tensor made = vae_->Begin(place, levels);
    HEATKV_CHECK_LE(made.nbytes(), result_.nbytes());
    recording->result = at::for_blob(result_.mutable_data_ptr(), made.sizes())
                            .strides(made.strides())
                            .options(made.options())
                            .target_device(made.device())
                            .make_tensor();
  }
  arena_->Record(recording->graph, [&] {
    return recording->result.copy_(vae_->Begin(place, levels));
  });
  recording->codes = Borrowed(place);
  return recording;
}

}  // namespace heatkv::model
