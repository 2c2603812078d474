#include "model/text/relative_position.h"

#include <ATen/ATen.h>

#include <cmath>

namespace heatkv::model {

at::Tensor RelativePositionBuckets(int tokens, int buckets, int max_distance) {
  const at::Tensor positions = at::arange(tokens, at::kLong);
  const at::Tensor relative = positions.unsqueeze(0) - positions.unsqueeze(1);
  const int half = buckets / 2;
  const int exact = half / 2;
  const at::Tensor distance = relative.abs();
  // In float32 like the models' training code: a distance on the border of two
  // buckets must round the same way.
  const at::Tensor logarithmic =
      exact +
      (at::log(distance.clamp_min(1).to(at::kFloat) / exact) /
       std::log(static_cast<double>(max_distance) / exact) * (half - exact))
          .to(at::kLong);
  return at::where(distance < exact, distance,
                   logarithmic.clamp_max(half - 1)) +
         (relative > 0).to(at::kLong) * half;
}

}  // namespace heatkv::model
