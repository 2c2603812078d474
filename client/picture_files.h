// Where pictures are written, and writing them so that each appears complete or
// not at all.
//
// Thread safety: stateless.

#ifndef CLIENT_PICTURE_FILES_H_
#define CLIENT_PICTURE_FILES_H_

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "heatkv/v1/image_generation.pb.h"

namespace heatkv::client {

// The format that a file name's ending names (.png, .jpg, .jpeg, .webp).
// InvalidArgument, naming the legal ones, for any other.
absl::StatusOr<v1::ImageFormat> FormatOf(const std::filesystem::path& file);

// ".png", ".jpg", ".webp"
std::string EndingOf(v1::ImageFormat format);

// The file of image `index` of `images`: `out` itself if it is the only one,
// else STEM-1.png, STEM-2.png, ...
std::filesystem::path PictureFile(const std::filesystem::path& out, int index,
                                  int images);

// STEM.scale-4.jpg beside the picture.
std::filesystem::path PreviewFile(const std::filesystem::path& picture,
                                  int scale, v1::ImageFormat format);

// Fails with PermissionDenied, naming the file.
absl::Status WriteFile(const std::filesystem::path& file,
                       absl::string_view bytes);

}  // namespace heatkv::client

#endif  // CLIENT_PICTURE_FILES_H_
