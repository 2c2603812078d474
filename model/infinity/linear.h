// A linear layer: y = x W^T + b, over the last dimension.

#ifndef MODEL_INFINITY_LINEAR_H_
#define MODEL_INFINITY_LINEAR_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "model/weights/weight_store.h"

namespace heatkv::model {

struct Linear {
  at::Tensor weight;  // [outputs, inputs]
  at::Tensor bias;    // [outputs], or undefined for none

  // Takes PREFIX.weight and PREFIX.bias.
  static Linear Take(WeightStore& weights, const std::string& prefix,
                     std::int64_t outputs, std::int64_t inputs);

  // The same in WeightStore::Options::matrix_dtype.
  static Linear TakeMatrix(WeightStore& weights, const std::string& prefix,
                           std::int64_t outputs, std::int64_t inputs);

  // Computes in the weight's dtype and returns it.
  at::Tensor operator()(const at::Tensor& x) const;
};

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_LINEAR_H_
