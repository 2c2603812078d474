// How much memory a device has and can still give.

#ifndef MODEL_MEMORY_AVAILABLE_H_
#define MODEL_MEMORY_AVAILABLE_H_

#include <ATen/core/Tensor.h>

#include <optional>

#include "model/api/device_memory.h"

namespace heatkv::model {

// Nothing if the system does not say.
std::optional<DeviceMemory> MemoryOf(at::Device device);

}  // namespace heatkv::model

#endif  // MODEL_MEMORY_AVAILABLE_H_
