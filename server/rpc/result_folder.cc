#include "server/rpc/result_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace heatkv::server {
namespace {

namespace fs = std::filesystem;

constexpr char kPrefix[] = "heatkv-";
constexpr char kSuffix[] = ".result";
constexpr char kPartial[] = ".partial";

absl::Status WriteError(const std::string& path, int error, std::size_t written,
                        std::size_t bytes) {
  const bool is_full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return absl::Status(
      is_full ? absl::StatusCode::kResourceExhausted
              : absl::StatusCode::kInternal,
      absl::StrCat("cannot write ", path, ": ", std::strerror(error), " after ",
                   written, " of ", bytes, " bytes"));
}

class ResultFile final : public StoredResult {
 public:
  ResultFile(std::string path, std::int64_t size)
      : StoredResult(size), path_(std::move(path)) {}
  ~ResultFile() override { unlink(path_.c_str()); }

  absl::StatusOr<std::string> Read() const override {
    std::string bytes(size(), '\0');
    std::ifstream stream(path_, std::ios::binary);
    if (!stream.read(bytes.data(), bytes.size())) {
      return absl::InternalError(
          absl::StrCat("cannot read ", path_, ": ", stream.gcount(), " of ",
                       bytes.size(), " bytes are there"));
    }
    return bytes;
  }

 private:
  const std::string path_;
};

// Held by one process at a time.  The system lets go of it if the process dies.
class FolderLock {
 public:
  // Whether it could be had; otherwise errno says why not.
  explicit FolderLock(const fs::path& folder)
      : file_(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
        is_held_(file_ >= 0 && flock(file_, LOCK_EX | LOCK_NB) == 0) {}
  FolderLock(FolderLock&& other) noexcept
      : file_(std::exchange(other.file_, -1)), is_held_(other.is_held_) {}
  FolderLock& operator=(FolderLock&&) = delete;
  ~FolderLock() {
    if (file_ >= 0) close(file_);
  }

  bool is_held() const { return is_held_; }

 private:
  int file_;
  bool is_held_;
};

class ResultFolder final : public ResultStore {
 public:
  ResultFolder(fs::path folder, FolderLock lock, FileWriter writer)
      : folder_(std::move(folder)),
        lock_(std::move(lock)),
        writer_(std::move(writer)) {}

  absl::StatusOr<std::shared_ptr<const StoredResult>> Put(
      const std::string& name, std::string bytes) override {
    const std::string path = folder_ / absl::StrCat(kPrefix, name, kSuffix);
    if (const absl::Status written = writer_(path, bytes); !written.ok()) {
      return written;
    }
    return std::make_shared<ResultFile>(path, bytes.size());
  }

 private:
  const fs::path folder_;
  const FolderLock lock_;
  const FileWriter writer_;
};

}  // namespace

absl::Status WriteFileWhole(const std::string& path, absl::string_view bytes) {
  const std::string partial = path + kPartial;
  const int file =
      open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return WriteError(path, errno, 0, bytes.size());
  std::size_t written = 0;
  int error = 0;
  while (written < bytes.size() && error == 0) {
    const ssize_t more =
        write(file, bytes.data() + written, bytes.size() - written);
    if (more >= 0) {
      written += more;
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  if (close(file) != 0 && error == 0) error = errno;
  if (error == 0 && std::rename(partial.c_str(), path.c_str()) != 0) {
    error = errno;
  }
  if (error == 0) return absl::OkStatus();
  unlink(partial.c_str());
  return WriteError(path, error, written, bytes.size());
}

absl::StatusOr<std::unique_ptr<ResultStore>> OpenResultFolder(
    const std::string& folder, FileWriter writer) {
  const auto unusable = [&](absl::string_view reason) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the folder of results ", folder, " cannot be used: ", reason));
  };
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return unusable(error.message());
  FolderLock lock(folder);
  if (!lock.is_held()) {
    return unusable(errno == EWOULDBLOCK
                        ? "another server keeps its results there"
                        : std::strerror(errno));
  }
  for (fs::directory_iterator file(folder, error), end; !error && file != end;
       file.increment(error)) {
    const std::string name = file->path().filename();
    const bool is_ours =
        absl::StartsWith(name, kPrefix) &&
        (absl::EndsWith(name, kSuffix) ||
         absl::EndsWith(name, absl::StrCat(kSuffix, kPartial)));
    if (is_ours) fs::remove(file->path(), error);
    if (error) break;
  }
  if (error) return unusable(error.message());
  const std::string probe =
      fs::path(folder) / absl::StrCat(kPrefix, "probe", kSuffix);
  if (const absl::Status written = WriteFileWhole(probe, "probe");
      !written.ok()) {
    return unusable(written.message());
  }
  unlink(probe.c_str());
  return std::make_unique<ResultFolder>(folder, std::move(lock),
                                        std::move(writer));
}

}  // namespace heatkv::server
