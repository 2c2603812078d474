// A file mapped read-only into memory.  Owns the mapping; the bytes stay valid
// until the last copy of the shared pointer goes.  Immutable, so safe to share
// between threads.

#ifndef MODEL_WEIGHTS_MAPPED_FILE_H_
#define MODEL_WEIGHTS_MAPPED_FILE_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace heatkv::model {

class MappedFile {
 public:
  // Fails with NotFound if there is no such file, FailedPrecondition if it is
  // no regular file, and Internal if it cannot be read or mapped.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(
      const std::string& path);

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::span<const std::byte> bytes_;
};

}  // namespace heatkv::model

#endif  // MODEL_WEIGHTS_MAPPED_FILE_H_
