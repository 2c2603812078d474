// From the decoder's values to 8-bit pixels.

#ifndef MODEL_VAE_PIXELS_H_
#define MODEL_VAE_PIXELS_H_

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "model/api/image_model.h"

namespace heatkv::model {

// decoded [1, 3, height, width] -> uint8 [height, width, 3] on the CPU, red,
// green, blue: clamped to [-1, 1], mapped to [0, 255] and truncated, as the
// authors do (they store blue first).
at::Tensor PixelsOf(const at::Tensor& decoded);

// The same as an image.  Fails with Internal if a value is not finite.
absl::StatusOr<RgbImage> PictureOf(const at::Tensor& decoded);

}  // namespace heatkv::model

#endif  // MODEL_VAE_PIXELS_H_
