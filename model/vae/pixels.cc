#include "model/vae/pixels.h"

#include <ATen/ATen.h>

namespace heatkv::model {

at::Tensor PixelsOf(const at::Tensor& decoded) {
  return ((decoded.clamp(-1, 1) + 1) / 2)
      .mul_(255)
      .to(at::kByte)
      .squeeze(0)
      .permute({1, 2, 0})
      .contiguous()
      .cpu();
}

}  // namespace heatkv::model
