// Copies a tensor out of a safetensors file, unconverted.

#ifndef MODEL_WEIGHTS_TENSOR_BYTES_H_
#define MODEL_WEIGHTS_TENSOR_BYTES_H_

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "model/weights/safetensors_file.h"

namespace heatkv::model {

// The torch dtype that a safetensors dtype names; nothing for those that no
// model of ours stores (8-bit floats, unsigned integers wider than a byte).
std::optional<at::ScalarType> ScalarTypeOf(const std::string& dtype);

// A new CPU tensor with the record's own dtype and shape.  REQUIRES:
// ScalarTypeOf(record.dtype) exists.
at::Tensor CopyTensor(const SafetensorsFile& file, const TensorRecord& record);

}  // namespace heatkv::model

#endif  // MODEL_WEIGHTS_TENSOR_BYTES_H_
