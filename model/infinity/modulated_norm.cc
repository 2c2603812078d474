#include "model/infinity/modulated_norm.h"

#include <ATen/ATen.h>

namespace heatkv::model {

at::Tensor ModulatedNorm(const at::Tensor& x, const at::Tensor& scale,
                         const at::Tensor& shift) {
  const at::Tensor normed =
      at::layer_norm(x, {x.size(-1)}, /*weight=*/{}, /*bias=*/{}, kNormEpsilon);
  return at::addcmul(shift, normed, scale + 1);
}

}  // namespace heatkv::model
