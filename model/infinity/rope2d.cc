#include "model/infinity/rope2d.h"

#include <ATen/ATen.h>

#include "base/check.h"

namespace heatkv::model {
namespace {

constexpr double kBase = 10000.0;

// Angles [length, head_width / 4] of `length` positions on an axis that is
// normalised to `full` positions.  Float32 throughout, like the authors': the
// rounding of positions and angles is part of the model.
at::Tensor AxisAngles(int length, int full, int head_width,
                      const at::TensorOptions& options) {
  const int half = head_width / 2;
  const at::Tensor exponents = at::arange(0, half, 2, options) / half;
  const at::Tensor inverse_wavelengths =
      at::reciprocal(at::pow(at::Scalar(kBase), exponents));
  const double stretch = static_cast<double>(full) / length;
  const at::Tensor positions = (at::arange(length, options) * stretch).round();
  return positions.unsqueeze(1) * inverse_wavelengths;
}

}  // namespace

at::Tensor RopeRotations(const cache::Grid& grid, const cache::Grid& rope_grid,
                         int head_width, at::Device device) {
  HEATKV_CHECK_EQ(head_width % 4, 0);
  const auto options = at::TensorOptions(at::kFloat);  // CPU: exact everywhere
  const std::int64_t pairs = head_width / 4;
  const at::Tensor rows =
      AxisAngles(grid.height, rope_grid.height, head_width, options)
          .unsqueeze(1)
          .expand({grid.height, grid.width, pairs});
  const at::Tensor columns =
      AxisAngles(grid.width, rope_grid.width, head_width, options)
          .unsqueeze(0)
          .expand({grid.height, grid.width, pairs});
  const at::Tensor angles =
      at::cat({rows, columns}, -1).reshape({grid.tokens(), 2 * pairs});
  return at::complex(angles.cos(), angles.sin()).to(device);
}

at::Tensor Rotate(const at::Tensor& x, const at::Tensor& rotations) {
  std::vector<std::int64_t> pairs = x.sizes().vec();
  pairs.back() /= 2;
  pairs.push_back(2);
  const at::Tensor turned =
      at::view_as_complex(x.to(at::kFloat).contiguous().view(pairs)) *
      rotations;
  return at::view_as_real(turned).view(x.sizes()).to(x.scalar_type());
}

}  // namespace heatkv::model
