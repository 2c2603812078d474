// Encodes 8-bit RGB pictures as PNG, JPEG or WebP.  The bytes depend on the
// pixels, format and quality alone: no time, no host and no version is written
// into a file, so the same recipe gives the same bytes.
//
// Thread safety: every function is stateless; call from any thread.

#ifndef SERVER_CODEC_IMAGE_CODEC_H_
#define SERVER_CODEC_IMAGE_CODEC_H_

#include <string>

#include "absl/status/statusor.h"
#include "model/api/image_model.h"

namespace heatkv::server {

enum class ImageFormat { kPng, kJpeg, kWebp };

// "image/png"
const char* MimeType(ImageFormat format);

struct EncodingOptions {
  ImageFormat format = ImageFormat::kPng;
  // 1 to 100, of JPEG and WebP; PNG has none.  JPEG keeps full colour
  // resolution (4:4:4); WebP at 100 is lossless.
  int quality = 90;
};

// Fails with InvalidArgument if the pixels do not fill height x width or the
// quality is out of range, and with Internal if a library fails.
absl::StatusOr<std::string> EncodeImage(const model::RgbImage& image,
                                        const EncodingOptions& options);

// The picture scaled down so that its longer side is `max_edge` pixels, each
// the mean of those it covers; unchanged if it is no larger or `max_edge` is 0.
model::RgbImage ScaleDown(const model::RgbImage& image, int max_edge);

}  // namespace heatkv::server

#endif  // SERVER_CODEC_IMAGE_CODEC_H_
