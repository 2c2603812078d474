#include "client/picture_files.h"

#include <fstream>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace heatkv::client {

absl::StatusOr<v1::ImageFormat> FormatOf(const std::filesystem::path& file) {
  const std::string ending = absl::AsciiStrToLower(file.extension().string());
  if (ending == ".png") return v1::IMAGE_FORMAT_PNG;
  if (ending == ".jpg" || ending == ".jpeg") return v1::IMAGE_FORMAT_JPEG;
  if (ending == ".webp") return v1::IMAGE_FORMAT_WEBP;
  return absl::InvalidArgumentError(
      absl::StrCat(file.string(),
                   ": the name must end in .png, .jpg, .jpeg or "
                   ".webp"));
}

std::string EndingOf(v1::ImageFormat format) {
  switch (format) {
    case v1::IMAGE_FORMAT_JPEG:
      return ".jpg";
    case v1::IMAGE_FORMAT_WEBP:
      return ".webp";
    default:
      return ".png";
  }
}

std::filesystem::path PictureFile(const std::filesystem::path& out, int index,
                                  int images) {
  if (images == 1) return out;
  std::filesystem::path file = out;
  file.replace_filename(absl::StrCat(out.stem().string(), "-", index + 1,
                                     out.extension().string()));
  return file;
}

std::filesystem::path PreviewFile(const std::filesystem::path& picture,
                                  int scale, v1::ImageFormat format) {
  std::filesystem::path file = picture;
  file.replace_filename(absl::StrCat(picture.stem().string(), ".scale-", scale,
                                     EndingOf(format)));
  return file;
}

absl::Status WriteFile(const std::filesystem::path& file,
                       absl::string_view bytes) {
  const std::filesystem::path partial = file.string() + ".partial";
  {
    std::ofstream stream(partial, std::ios::binary | std::ios::trunc);
    stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!stream.flush()) {
      return absl::PermissionDeniedError(
          absl::StrCat(file.string(), ": cannot be written"));
    }
  }
  std::error_code error;
  std::filesystem::rename(partial, file, error);
  if (error) {
    return absl::PermissionDeniedError(
        absl::StrCat(file.string(), ": cannot be written: ", error.message()));
  }
  return absl::OkStatus();
}

}  // namespace heatkv::client
