#include "model/vae/pixels.h"

#include <ATen/ATen.h>

#include <cstdint>

#include "absl/strings/str_cat.h"

namespace heatkv::model {

at::Tensor PixelsOf(const at::Tensor& decoded) {
  const at::Tensor pixels = ((decoded.clamp(-1, 1) + 1) / 2)
                                .mul_(255)
                                .to(at::kByte)
                                .squeeze(0)
                                .permute({1, 2, 0})
                                .contiguous();
  if (pixels.is_cpu()) return pixels;
  // Page-locked memory is kept by its allocator, while memory that is new every
  // time would be mapped page by page as the device waits.
  at::Tensor host = at::empty(
      pixels.sizes(), pixels.options().device(at::kCPU).pinned_memory(true));
  host.copy_(pixels);
  return host;
}

absl::StatusOr<RgbImage> PictureOf(const at::Tensor& decoded) {
  const at::Tensor not_finite = decoded.isfinite().logical_not().sum();
  const at::Tensor pixels = PixelsOf(decoded);
  if (const auto count = not_finite.item<std::int64_t>(); count > 0) {
    return absl::InternalError(absl::StrCat(count, " of ", decoded.numel(),
                                            " decoded values are not finite"));
  }
  const auto* begin = pixels.const_data_ptr<std::uint8_t>();
  return RgbImage{.height = static_cast<int>(pixels.size(0)),
                  .width = static_cast<int>(pixels.size(1)),
                  .pixels = {begin, begin + pixels.numel()}};
}

}  // namespace heatkv::model
