// A safetensors file: 8 bytes of header length (little endian), a JSON header,
// then the tensors' bytes.  Reads the header strictly and gives access to the
// bytes of each tensor in place; it knows nothing of torch or of what the
// tensors mean.
//
// Format: https://github.com/huggingface/safetensors.  Immutable once open; the
// mapping is shared by all copies.

#ifndef MODEL_WEIGHTS_SAFETENSORS_FILE_H_
#define MODEL_WEIGHTS_SAFETENSORS_FILE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/weights/mapped_file.h"

namespace heatkv::model {

using Shape = std::vector<std::int64_t>;

// "[64, 128]".
std::string ShapeText(const Shape& shape);

struct TensorRecord {
  std::string dtype;  // as the file says it: "F32", "BF16", "I8", ...
  Shape shape;
  std::uint64_t begin = 0;  // bytes, from the end of the header
  std::uint64_t end = 0;
};

class SafetensorsFile {
 public:
  // Fails, naming the file, the tensor and both numbers, with
  //  - NotFound if the file does not exist;
  //  - DataLoss if the file is shorter than its header or tensors say, has
  //    bytes that belong to no tensor, or if two tensors overlap;
  //  - InvalidArgument if the header is no JSON object of the right form, names
  //    a tensor twice, uses an unknown dtype, or if a shape and its byte range
  //    disagree.
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);

  const std::string& path() const { return path_; }
  const std::map<std::string, TensorRecord>& tensors() const {
    return tensors_;
  }

  // The bytes of one of tensors(), row-major, in no particular alignment.
  std::span<const std::byte> bytes(const TensorRecord& record) const;

 private:
  SafetensorsFile() = default;

  std::string path_;
  std::shared_ptr<const MappedFile> file_;  // shared by copies of this object
  std::size_t data_offset_ = 0;
  std::map<std::string, TensorRecord> tensors_;
};

}  // namespace heatkv::model

#endif  // MODEL_WEIGHTS_SAFETENSORS_FILE_H_
