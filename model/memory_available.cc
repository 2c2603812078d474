#include "model/memory_available.h"

#include <fstream>
#include <string>

#if HEATKV_CUDA
#include <c10/core/DeviceGuard.h>

#include "model/kernels/launch.h"
#endif

namespace heatkv::model {

std::optional<DeviceMemory> MemoryOf(at::Device device) {
#if HEATKV_CUDA
  if (device.is_cuda()) {
    const c10::DeviceGuard guard(device);
    const kernels::DeviceMemory memory = kernels::CurrentDeviceMemory();
    return DeviceMemory{.total = memory.total, .available = memory.free};
  }
#endif
  if (!device.is_cpu()) return std::nullopt;
  DeviceMemory memory;
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::int64_t kibibytes = 0;
  std::string unit;
  while (file >> key >> kibibytes) {
    if (key == "MemTotal:") memory.total = kibibytes * 1024;
    // Unlike the count of free pages, this includes caches that the kernel
    // would give up.
    if (key == "MemAvailable:") {
      memory.available = kibibytes * 1024;
      return memory;
    }
    std::getline(file, unit);
  }
  return std::nullopt;
}

}  // namespace heatkv::model
