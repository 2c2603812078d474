#include "server/codec/image_codec.h"

#include <spng.h>
#include <turbojpeg.h>
#include <webp/decode.h>

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv::server {
namespace {

model::RgbImage Gradient(int height, int width) {
  model::RgbImage image{height, width, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      image.pixels.push_back(static_cast<std::uint8_t>(255 * x / width));
      image.pixels.push_back(static_cast<std::uint8_t>(255 * y / height));
      image.pixels.push_back(128);
    }
  }
  return image;
}

std::vector<std::uint8_t> DecodePng(const std::string& bytes) {
  const std::unique_ptr<spng_ctx, void (*)(spng_ctx*)> png(spng_ctx_new(0),
                                                           spng_ctx_free);
  EXPECT_EQ(spng_set_png_buffer(png.get(), bytes.data(), bytes.size()), 0);
  std::size_t size = 0;
  EXPECT_EQ(spng_decoded_image_size(png.get(), SPNG_FMT_RGB8, &size), 0);
  std::vector<std::uint8_t> pixels(size);
  EXPECT_EQ(spng_decode_image(png.get(), pixels.data(), size, SPNG_FMT_RGB8, 0),
            0);
  return pixels;
}

double MeanDifference(const std::vector<std::uint8_t>& a,
                      const std::vector<std::uint8_t>& b) {
  EXPECT_EQ(a.size(), b.size());
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::abs(a[i] - b[i]);
  return sum / a.size();
}

TEST(ImageCodecTest, PngLosesNothing) {
  const model::RgbImage image = Gradient(17, 31);
  const auto bytes = EncodeImage(image, {ImageFormat::kPng});
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(DecodePng(*bytes), image.pixels);
}

TEST(ImageCodecTest, PngMakesLittleOfASmoothPicture) {
  const model::RgbImage image = Gradient(256, 256);
  const auto bytes = EncodeImage(image, {ImageFormat::kPng});
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(DecodePng(*bytes), image.pixels);
  EXPECT_LT(bytes->size(), image.pixels.size() / 20);
}

TEST(ImageCodecTest, PngHoldsNothingButThePicture) {
  const auto bytes = EncodeImage(Gradient(8, 8), {ImageFormat::kPng});
  ASSERT_TRUE(bytes.ok());
  // Length, type, data, checksum of each chunk after the 8-byte signature.
  std::vector<std::string> chunks;
  for (std::size_t at = 8; at + 8 <= bytes->size();) {
    std::uint32_t length = 0;
    for (int i = 0; i < 4; ++i) {
      length = length << 8 | static_cast<std::uint8_t>((*bytes)[at + i]);
    }
    chunks.push_back(bytes->substr(at + 4, 4));
    at += 12 + length;
  }
  EXPECT_THAT(chunks, testing::ElementsAre("IHDR", "IDAT", "IEND"));
}

TEST(ImageCodecTest, TheSamePixelsGiveTheSameBytes) {
  for (const ImageFormat format :
       {ImageFormat::kPng, ImageFormat::kJpeg, ImageFormat::kWebp}) {
    EXPECT_EQ(*EncodeImage(Gradient(33, 20), {format, 80}),
              *EncodeImage(Gradient(33, 20), {format, 80}));
  }
}

TEST(ImageCodecTest, JpegIsCloseToThePicture) {
  const model::RgbImage image = Gradient(32, 48);
  const auto bytes = EncodeImage(image, {ImageFormat::kJpeg, 95});
  ASSERT_TRUE(bytes.ok());
  const tjhandle jpeg = tjInitDecompress();
  std::vector<std::uint8_t> pixels(image.pixels.size());
  EXPECT_EQ(
      tjDecompress2(jpeg, reinterpret_cast<const unsigned char*>(bytes->data()),
                    bytes->size(), pixels.data(), 48, 0, 32, TJPF_RGB, 0),
      0);
  tjDestroy(jpeg);
  EXPECT_LT(MeanDifference(pixels, image.pixels), 2);
}

TEST(ImageCodecTest, WebpIsCloseAndLosslessAt100) {
  const model::RgbImage image = Gradient(32, 48);
  for (const int quality : {90, 100}) {
    const auto bytes = EncodeImage(image, {ImageFormat::kWebp, quality});
    ASSERT_TRUE(bytes.ok());
    int width = 0, height = 0;
    std::uint8_t* pixels =
        WebPDecodeRGB(reinterpret_cast<const std::uint8_t*>(bytes->data()),
                      bytes->size(), &width, &height);
    ASSERT_NE(pixels, nullptr);
    EXPECT_EQ(width, 48);
    EXPECT_EQ(height, 32);
    const std::vector<std::uint8_t> decoded(pixels,
                                            pixels + image.pixels.size());
    WebPFree(pixels);
    if (quality == 100) {
      EXPECT_EQ(decoded, image.pixels);
    } else {
      EXPECT_LT(MeanDifference(decoded, image.pixels), 4);
    }
  }
}

TEST(ImageCodecTest, RefusesPixelsThatDoNotFillThePicture) {
  model::RgbImage image = Gradient(4, 4);
  image.pixels.pop_back();
  const auto status = EncodeImage(image, {ImageFormat::kPng}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(
      std::string(status.message()),
      testing::AllOf(testing::HasSubstr("48"), testing::HasSubstr("47")));
  EXPECT_FALSE(EncodeImage(Gradient(4, 4), {ImageFormat::kJpeg, 0}).ok());
}

TEST(ImageCodecTest, ScalingDownTakesTheMean) {
  const model::RgbImage image{2,
                              2,
                              {0, 0, 0, 10, 20, 30,  //
                               20, 40, 60, 30, 60, 90}};
  const model::RgbImage small = ScaleDown(image, 1);
  EXPECT_EQ(small.height, 1);
  EXPECT_EQ(small.width, 1);
  EXPECT_THAT(small.pixels, testing::ElementsAre(15, 30, 45));
}

TEST(ImageCodecTest, ScalingDownKeepsTheAspectAndLeavesSmallPictures) {
  const model::RgbImage small = ScaleDown(Gradient(50, 200), 64);
  EXPECT_EQ(small.height, 16);
  EXPECT_EQ(small.width, 64);
  EXPECT_EQ(ScaleDown(Gradient(5, 6), 64).pixels, Gradient(5, 6).pixels);
  EXPECT_EQ(ScaleDown(Gradient(5, 6), 0).pixels, Gradient(5, 6).pixels);
}

}  // namespace
}  // namespace heatkv::server
