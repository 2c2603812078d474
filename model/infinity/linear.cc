#include "model/infinity/linear.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"

namespace heatkv::model {

Linear Linear::Take(WeightStore& weights, const std::string& prefix,
                    std::int64_t outputs, std::int64_t inputs) {
  return {.weight =
              weights.Take(absl::StrCat(prefix, ".weight"), {outputs, inputs}),
          .bias = weights.Take(absl::StrCat(prefix, ".bias"), {outputs})};
}

Linear Linear::TakeMatrix(WeightStore& weights, const std::string& prefix,
                          std::int64_t outputs, std::int64_t inputs) {
  return {.weight = weights.TakeMatrix(absl::StrCat(prefix, ".weight"),
                                       {outputs, inputs}),
          .bias = weights.TakeMatrix(absl::StrCat(prefix, ".bias"), {outputs})};
}

at::Tensor Linear::operator()(const at::Tensor& x) const {
  return at::linear(x.to(weight.scalar_type()), weight, bias);
}

}  // namespace heatkv::model
