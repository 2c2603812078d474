// How much memory a device can still give.

#ifndef MODEL_MEMORY_AVAILABLE_H_
#define MODEL_MEMORY_AVAILABLE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace heatkv::model {

// Bytes that the process could allocate on `device` without swapping; nothing
// if the system does not say.
std::optional<std::int64_t> MemoryAvailable(at::Device device);

}  // namespace heatkv::model

#endif  // MODEL_MEMORY_AVAILABLE_H_
