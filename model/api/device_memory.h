// The memory of the device that a model runs on.

#ifndef MODEL_API_DEVICE_MEMORY_H_
#define MODEL_API_DEVICE_MEMORY_H_

#include <cstdint>

namespace heatkv::model {

// Bytes.  On the CPU the machine's memory; "available" is what a process can
// still have without swapping.
struct DeviceMemory {
  std::int64_t total = 0;
  std::int64_t available = 0;

  friend bool operator==(const DeviceMemory&, const DeviceMemory&) = default;
};

}  // namespace heatkv::model

#endif  // MODEL_API_DEVICE_MEMORY_H_
