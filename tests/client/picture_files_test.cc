#include "client/picture_files.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv::client {
namespace {

TEST(PictureFilesTest, TheEndingIsTheFormat) {
  EXPECT_EQ(*FormatOf("a.png"), v1::IMAGE_FORMAT_PNG);
  EXPECT_EQ(*FormatOf("dir.x/a.JPG"), v1::IMAGE_FORMAT_JPEG);
  EXPECT_EQ(*FormatOf("a.jpeg"), v1::IMAGE_FORMAT_JPEG);
  EXPECT_EQ(*FormatOf("a.b.webp"), v1::IMAGE_FORMAT_WEBP);
  EXPECT_FALSE(FormatOf("a").ok());
  EXPECT_THAT(std::string(FormatOf("a.bmp").status().message()),
              testing::HasSubstr(".png, .jpg, .jpeg or .webp"));
}

TEST(PictureFilesTest, SeveralImagesAreNumberedFromOne) {
  EXPECT_EQ(PictureFile("out/a.png", 0, 1), "out/a.png");
  EXPECT_EQ(PictureFile("out/a.png", 0, 2), "out/a-1.png");
  EXPECT_EQ(PictureFile("out/a.png", 9, 10), "out/a-10.png");
}

TEST(PictureFilesTest, PreviewsLieBesideTheirPicture) {
  EXPECT_EQ(PreviewFile("out/a-2.png", 4, v1::IMAGE_FORMAT_JPEG),
            "out/a-2.scale-4.jpg");
}

TEST(PictureFilesTest, WritesTheWholeFileOrNamesIt) {
  const std::filesystem::path folder = testing::TempDir();
  const std::filesystem::path file = folder / "picture_files_test.bin";
  const std::string bytes("a\0b", 3);
  ASSERT_TRUE(WriteFile(file, bytes).ok());
  std::ifstream stream(file, std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(stream), {}), bytes);
  EXPECT_FALSE(std::filesystem::exists(file.string() + ".partial"));
  std::filesystem::remove(file);
  const absl::Status status = WriteFile("/no/such/folder/x.png", bytes);
  EXPECT_THAT(std::string(status.message()),
              testing::HasSubstr("/no/such/folder/x.png"));
}

}  // namespace
}  // namespace heatkv::client
