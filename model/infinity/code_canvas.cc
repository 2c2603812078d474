#include "model/infinity/code_canvas.h"

#include <ATen/ATen.h>

#include <cmath>

namespace heatkv::model {
namespace {

at::Tensor Resized(const at::Tensor& x, std::int64_t height,
                   std::int64_t width) {
  return at::upsample_trilinear3d(x, {1, height, width},
                                  /*align_corners=*/false);
}

}  // namespace

CodeCanvas::CodeCanvas(const cache::Grid& last, int bits, bool patchify,
                       at::Device device)
    : bits_(bits), patchify_(patchify) {
  const std::int64_t side = patchify ? 2 : 1;
  sum_ = at::zeros({1, bits, 1, side * last.height, side * last.width},
                   at::TensorOptions(at::kFloat).device(device));
}

void CodeCanvas::Add(const at::Tensor& bits, const cache::Grid& grid) {
  at::Tensor cells = bits.to(at::kFloat)
                         .view({1, grid.height, grid.width, bits.size(1)})
                         .permute({0, 3, 1, 2});
  if (patchify_) cells = at::pixel_shuffle(cells, 2);
  const at::Tensor codes =
      ((cells * 2 - 1) / std::sqrt(static_cast<double>(bits_))).unsqueeze(2);
  // Stretching to its own size is the identity, so the last scale needs no case
  // of its own.
  sum_ += Resized(codes.contiguous(), sum_.size(3), sum_.size(4));
}

at::Tensor CodeCanvas::CodesFor(const cache::Grid& grid) const {
  const std::int64_t side = patchify_ ? 2 : 1;
  return Resized(sum_, side * grid.height, side * grid.width).squeeze(2);
}

at::Tensor CodeCanvas::InputFor(const cache::Grid& grid) const {
  at::Tensor cells = CodesFor(grid);
  if (patchify_) cells = at::pixel_unshuffle(cells, 2);
  return cells.flatten(2).transpose(1, 2).contiguous();
}

}  // namespace heatkv::model
