#include "tests/model/safetensors_writer.h"

#include <ATen/ATen.h>
#include <stdlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>

#include "base/check.h"
#include "nlohmann/json.hpp"

namespace heatkv::model {
namespace {

std::string DtypeName(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return "F32";
    case at::kHalf:
      return "F16";
    case at::kBFloat16:
      return "BF16";
    case at::kChar:
      return "I8";
    case at::kLong:
      return "I64";
    default:
      HEATKV_CHECK(false) << c10::toString(type);
      return "";
  }
}

}  // namespace

std::string SafetensorsText(const std::string& header,
                            const std::string& data) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) {
    bytes[i] = static_cast<char>((std::uint64_t{header.size()} >> (8 * i)));
  }
  return bytes + header + data;
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  HEATKV_CHECK(file.good()) << path;
}

void WriteSafetensors(const std::string& path, const NamedTensors& tensors) {
  nlohmann::json header = nlohmann::json::object();
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor dense = tensor.contiguous();
    const std::size_t begin = data.size();
    data.append(static_cast<const char*>(dense.const_data_ptr()),
                dense.nbytes());
    header[name] = {{"dtype", DtypeName(dense.scalar_type())},
                    {"shape", dense.sizes().vec()},
                    {"data_offsets", {begin, data.size()}}};
  }
  WriteFile(path, SafetensorsText(header.dump(), data));
}

TemporaryFolder::TemporaryFolder() {
  path_ = (std::filesystem::temp_directory_path() / "heatkv-XXXXXX").string();
  HEATKV_CHECK(mkdtemp(path_.data()) != nullptr) << path_;
}

TemporaryFolder::~TemporaryFolder() { std::filesystem::remove_all(path_); }

}  // namespace heatkv::model
