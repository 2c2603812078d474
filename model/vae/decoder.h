// The decoder of the BSQ-VAE: summed codes to pixels (specification section 6).
// A convolutional network without attention: per level `residual_blocks`
// residual blocks, then nearest doubling and a convolution, coarse to fine.
//
// Whole, a decoding holds several images of the finest levels at once.  In
// bands of rows (residual_block.h) it holds two and a band or two of its
// convolutions; memory_plan.h says in bytes how much.
//
// Immutable after loading.  Used by one thread.

#ifndef MODEL_VAE_DECODER_H_
#define MODEL_VAE_DECODER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "model/api/model_spec.h"
#include "model/vae/convolution.h"
#include "model/vae/group_norm.h"
#include "model/vae/residual_block.h"
#include "model/weights/weight_store.h"

namespace heatkv::model {

class VaeDecoder {
 public:
  // Takes the decoder's tensors for codes of `bits` channels.  Whatever belongs
  // to the encoder or quantizer may be in the files or not.  Fails with
  // InvalidArgument if the decoder's tensors are not exactly those of `spec`.
  static absl::StatusOr<std::unique_ptr<VaeDecoder>> Load(const VaeSpec& spec,
                                                          int bits,
                                                          WeightStore weights);

  // codes [1, bits, h, w] -> [1, 3, h * upsampling, w * upsampling], red,
  // green, blue, nominally in [-1, 1] but not clamped.  Levels of more than
  // tile x tile pixels are computed in bands of at most so many; 0: none is.
  at::Tensor Decode(const at::Tensor& codes, int tile = 0) const;

  // The same in two parts, for whoever computes the first one in a way of its
  // own (cuda/recorded_decoder.h).
  //
  // How many levels, from the coarsest on, have at most `most_pixels` pixels
  // with codes of this size.
  int LevelsUpTo(std::int64_t height, std::int64_t width,
                 std::int64_t most_pixels) const;
  // What the first `levels` levels make, none of them in bands; where these are
  // all, the picture.  Its values lie side by side.
  at::Tensor Begin(const at::Tensor& codes, int levels) const;
  // Bytes, on the weights' device, with room for whatever Begin makes of levels
  // of at most `most_pixels` pixels.
  at::Tensor RoomForBegin(std::int64_t most_pixels) const;
  // The picture from what Begin made of as many levels, which is used up.
  at::Tensor Finish(at::Tensor x, int levels, int tile) const;

 private:
  struct Level {
    std::optional<DoublingConvolution> doubling;  // but at the coarsest level
    std::vector<ResidualBlock> blocks;
  };

  // The level's result from the coarser one's.
  static at::Tensor Whole(const Level& level, at::Tensor x);
  // The same with bands of `most_pixels`.
  static at::Tensor InBands(const Level& level, at::Tensor x,
                            std::int64_t most_pixels);
  // The picture from the finest level's result.
  at::Tensor Output(at::Tensor x) const;
  at::Tensor OutputInBands(at::Tensor x, std::int64_t most_pixels) const;

  VaeDecoder() = default;

  Convolution input_;
  std::vector<ResidualBlock> middle_;
  std::vector<Level> levels_;  // coarsest first
  GroupNorm output_norm_;
  Convolution output_;
  int most_channels_ = 0;  // of a level
};

}  // namespace heatkv::model

#endif  // MODEL_VAE_DECODER_H_
