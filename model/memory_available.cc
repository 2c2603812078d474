#include "model/memory_available.h"

#include <fstream>
#include <string>

#if HEATKV_CUDA
#include <c10/core/DeviceGuard.h>

#include "model/kernels/launch.h"
#endif

namespace heatkv::model {

std::optional<std::int64_t> MemoryAvailable(at::Device device) {
#if HEATKV_CUDA
  if (device.is_cuda()) {
    const c10::DeviceGuard guard(device);
    return kernels::CurrentDeviceMemory().free;
  }
#endif
  if (!device.is_cpu()) return std::nullopt;
  // Unlike the count of free pages, this includes caches that the kernel would
  // give up.
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::int64_t kibibytes = 0;
  std::string unit;
  while (file >> key >> kibibytes) {
    if (key == "MemAvailable:") return kibibytes * 1024;
    std::getline(file, unit);
  }
  return std::nullopt;
}

}  // namespace heatkv::model
