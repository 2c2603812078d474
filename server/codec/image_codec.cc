#include "server/codec/image_codec.h"

#include <spng.h>
#include <turbojpeg.h>
#include <webp/encode.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace heatkv::server {
namespace {

constexpr int kRuns = 3;  // Z_RLE of zlib

struct PngOption {
  spng_option option;
  int value;
};

// A tenth of the library's usual time, for files of the same size: in what the
// filter leaves of a picture there is little to find but runs.
constexpr PngOption kPngOptions[] = {
    {SPNG_ENCODE_TO_BUFFER, 1},
    {SPNG_IMG_COMPRESSION_LEVEL, 1},
    {SPNG_IMG_COMPRESSION_STRATEGY, kRuns},
    {SPNG_FILTER_CHOICE, SPNG_FILTER_CHOICE_PAETH},
};

absl::StatusOr<std::string> EncodePng(const model::RgbImage& image) {
  const std::unique_ptr<spng_ctx, void (*)(spng_ctx*)> png(
      spng_ctx_new(SPNG_CTX_ENCODER), spng_ctx_free);
  spng_ihdr header = {};
  header.width = static_cast<std::uint32_t>(image.width);
  header.height = static_cast<std::uint32_t>(image.height);
  header.bit_depth = 8;
  header.color_type = SPNG_COLOR_TYPE_TRUECOLOR;
  int error = png == nullptr ? SPNG_EMEM : 0;
  for (const PngOption& option : kPngOptions) {
    if (error != 0) break;
    error = spng_set_option(png.get(), option.option, option.value);
  }
  if (error == 0) error = spng_set_ihdr(png.get(), &header);
  if (error == 0) {
    error =
        spng_encode_image(png.get(), image.pixels.data(), image.pixels.size(),
                          SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
  }
  if (error != 0) {
    return absl::InternalError(
        absl::StrCat("PNG encoding failed: ", spng_strerror(error)));
  }
  std::size_t size = 0;
  const std::unique_ptr<void, void (*)(void*)> bytes(
      spng_get_png_buffer(png.get(), &size, &error), std::free);
  if (bytes == nullptr) {
    return absl::InternalError(
        absl::StrCat("PNG encoding failed: ", spng_strerror(error)));
  }
  return std::string(static_cast<const char*>(bytes.get()), size);
}

absl::StatusOr<std::string> EncodeJpeg(const model::RgbImage& image,
                                       int quality) {
  const tjhandle jpeg = tjInitCompress();
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  const bool good = jpeg != nullptr &&
                    tjCompress2(jpeg, image.pixels.data(), image.width, 0,
                                image.height, TJPF_RGB, &buffer, &size,
                                TJSAMP_444, quality, TJFLAG_ACCURATEDCT) == 0;
  absl::StatusOr<std::string> result =
      good ? absl::StatusOr<std::string>(
                 std::string(reinterpret_cast<char*>(buffer), size))
           : absl::InternalError(
                 absl::StrCat("JPEG encoding failed: ", tjGetErrorStr2(jpeg)));
  tjFree(buffer);
  if (jpeg != nullptr) tjDestroy(jpeg);
  return result;
}

absl::StatusOr<std::string> EncodeWebp(const model::RgbImage& image,
                                       int quality) {
  std::uint8_t* buffer = nullptr;
  const int stride = image.width * 3;
  const std::size_t size =
      quality == 100
          ? WebPEncodeLosslessRGB(image.pixels.data(), image.width,
                                  image.height, stride, &buffer)
          : WebPEncodeRGB(image.pixels.data(), image.width, image.height,
                          stride, static_cast<float>(quality), &buffer);
  const std::unique_ptr<std::uint8_t, void (*)(void*)> bytes(buffer, WebPFree);
  if (size == 0) {
    return absl::InternalError(absl::StrCat("WebP encoding of ", image.width,
                                            "x", image.height, " failed"));
  }
  return std::string(reinterpret_cast<char*>(bytes.get()), size);
}

}  // namespace

const char* MimeType(ImageFormat format) {
  switch (format) {
    case ImageFormat::kPng:
      return "image/png";
    case ImageFormat::kJpeg:
      return "image/jpeg";
    case ImageFormat::kWebp:
      return "image/webp";
  }
  return "application/octet-stream";
}

absl::StatusOr<std::string> EncodeImage(const model::RgbImage& image,
                                        const EncodingOptions& options) {
  const std::int64_t expected = std::int64_t{3} * image.height * image.width;
  if (image.height < 1 || image.width < 1 ||
      static_cast<std::int64_t>(image.pixels.size()) != expected) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a picture of ", image.height, "x", image.width, " pixels needs ",
        expected, " bytes, but has ", image.pixels.size()));
  }
  if (options.format != ImageFormat::kPng &&
      (options.quality < 1 || options.quality > 100)) {
    return absl::InvalidArgumentError(
        absl::StrCat("quality must be 1 to 100, but is ", options.quality));
  }
  switch (options.format) {
    case ImageFormat::kPng:
      return EncodePng(image);
    case ImageFormat::kJpeg:
      return EncodeJpeg(image, options.quality);
    case ImageFormat::kWebp:
      return EncodeWebp(image, options.quality);
  }
  return absl::InvalidArgumentError("unknown image format");
}

model::RgbImage ScaleDown(const model::RgbImage& image, int max_edge) {
  const int edge = std::max(image.height, image.width);
  if (max_edge <= 0 || edge <= max_edge) return image;
  const auto scaled = [&](int side) {
    return std::max(1, static_cast<int>(std::lround(static_cast<double>(side) *
                                                    max_edge / edge)));
  };
  model::RgbImage out;
  out.height = scaled(image.height);
  out.width = scaled(image.width);
  out.pixels.resize(std::size_t{3} * out.height * out.width);
  for (int y = 0; y < out.height; ++y) {
    const int top = y * image.height / out.height;
    const int bottom = std::max(top + 1, (y + 1) * image.height / out.height);
    for (int x = 0; x < out.width; ++x) {
      const int left = x * image.width / out.width;
      const int right = std::max(left + 1, (x + 1) * image.width / out.width);
      const int count = (bottom - top) * (right - left);
      for (int channel = 0; channel < 3; ++channel) {
        int sum = 0;
        for (int row = top; row < bottom; ++row) {
          for (int column = left; column < right; ++column) {
            sum += image.pixels[(static_cast<std::size_t>(row) * image.width +
                                 column) *
                                    3 +
                                channel];
          }
        }
        out.pixels[(static_cast<std::size_t>(y) * out.width + x) * 3 +
                   channel] =
            static_cast<std::uint8_t>((sum + count / 2) / count);
      }
    }
  }
  return out;
}

}  // namespace heatkv::server
