// Adaptive layer normalisation: LN(x) * (1 + scale) + shift, where LN has no
// parameters of its own and scale and shift come from the pooled text
// (specification sections 3 and 4.1).

#ifndef MODEL_INFINITY_MODULATED_NORM_H_
#define MODEL_INFINITY_MODULATED_NORM_H_

#include <ATen/core/Tensor.h>

namespace heatkv::model {

// Of every layer normalisation in the model.
inline constexpr double kNormEpsilon = 1e-6;

// x [branches, tokens, width]; scale and shift [branches, 1, width].
at::Tensor ModulatedNorm(const at::Tensor& x, const at::Tensor& scale,
                         const at::Tensor& shift);

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_MODULATED_NORM_H_
