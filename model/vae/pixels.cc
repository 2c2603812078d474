#include "model/vae/pixels.h"

#include <ATen/ATen.h>

#include <cstdint>

#include "absl/strings/str_cat.h"

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

absl::StatusOr<RgbImage> PictureOf(const at::Tensor& decoded) {
  const auto not_finite =
      decoded.isfinite().logical_not().sum().item<std::int64_t>();
  if (not_finite > 0) {
    return absl::InternalError(absl::StrCat(not_finite, " of ", decoded.numel(),
                                            " decoded values are not finite"));
  }
  const at::Tensor pixels = PixelsOf(decoded);
  const auto* begin = pixels.const_data_ptr<std::uint8_t>();
  return RgbImage{.height = static_cast<int>(pixels.size(0)),
                  .width = static_cast<int>(pixels.size(1)),
                  .pixels = {begin, begin + pixels.numel()}};
}

}  // namespace heatkv::model
