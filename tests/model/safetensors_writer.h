// Writes safetensors files for tests.

#ifndef TESTS_MODEL_SAFETENSORS_WRITER_H_
#define TESTS_MODEL_SAFETENSORS_WRITER_H_

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace heatkv::model {

using NamedTensors = std::map<std::string, at::Tensor>;

// A whole file: header length, `header`, `data`.
std::string SafetensorsText(const std::string& header, const std::string& data);

void WriteFile(const std::string& path, const std::string& bytes);

void WriteSafetensors(const std::string& path, const NamedTensors& tensors);

// A fresh folder of this test's own, gone with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace heatkv::model

#endif  // TESTS_MODEL_SAFETENSORS_WRITER_H_
