#include "model/weights/tensor_bytes.h"

#include <ATen/ATen.h>

#include <cstring>
#include <map>

#include "base/check.h"

namespace heatkv::model {

std::optional<at::ScalarType> ScalarTypeOf(const std::string& dtype) {
  static const auto* const types = new std::map<std::string, at::ScalarType>{
      {"F64", at::kDouble}, {"F32", at::kFloat},     {"F16", at::kHalf},
      {"I64", at::kLong},   {"BF16", at::kBFloat16}, {"I32", at::kInt},
      {"I16", at::kShort},  {"I8", at::kChar},       {"U8", at::kByte},
      {"BOOL", at::kBool}};
  const auto it = types->find(dtype);
  if (it == types->end()) return std::nullopt;
  return it->second;
}

at::Tensor CopyTensor(const SafetensorsFile& file, const TensorRecord& record) {
  const std::optional<at::ScalarType> type = ScalarTypeOf(record.dtype);
  HEATKV_CHECK(type.has_value()) << record.dtype;
  at::Tensor tensor = at::empty(record.shape, at::TensorOptions(*type));
  const std::span<const std::byte> bytes = file.bytes(record);
  HEATKV_CHECK_EQ(tensor.nbytes(), bytes.size());
  // The bytes of a file lie at any alignment, so they are copied, not viewed.
  if (!bytes.empty()) {
    std::memcpy(tensor.mutable_data_ptr(), bytes.data(), bytes.size());
  }
  return tensor;
}

}  // namespace heatkv::model
