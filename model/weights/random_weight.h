// One tensor of a model that was never trained, by the role that its official
// name and shape tell of.

#ifndef MODEL_WEIGHTS_RANDOM_WEIGHT_H_
#define MODEL_WEIGHTS_RANDOM_WEIGHT_H_

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "model/weights/safetensors_file.h"

namespace heatkv::model {

// A generator of `device` that starts at `seed`.  On a GPU it is the process's
// own, so nobody else may draw meanwhile.
at::Generator RandomGenerator(std::uint64_t seed, at::Device device);

// float32.  Normally distributed: matrices and convolutions with the deviation
// 1 / sqrt(inputs); rank-1 weights around 1; biases, modulations and embeddings
// so that activations stay near 1 through any depth.
at::Tensor RandomWeight(const std::string& name, const Shape& shape,
                        at::Generator& generator, at::Device device);

}  // namespace heatkv::model

#endif  // MODEL_WEIGHTS_RANDOM_WEIGHT_H_
