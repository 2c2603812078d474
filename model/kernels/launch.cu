#include <cuda_runtime.h>

#include "model/kernels/cuda_calls.cuh"
#include "model/kernels/early_launch.cuh"
#include "model/kernels/launch.h"

namespace heatkv::kernels {
namespace {

std::string Version(int version) {
  return std::to_string(version / 1000) + "." +
         std::to_string(version % 1000 / 10);
}

}  // namespace

void CheckLaunch(const char* what) { Check(cudaGetLastError(), what); }

bool HasWait(const void* kernel) {
  cudaFuncAttributes attributes;
  Check(cudaFuncGetAttributes(&attributes, kernel), "asking about a kernel");
  return attributes.ptxVersion >= 90;
}

int Multiprocessors() {
  return DeviceAttribute(cudaDevAttrMultiProcessorCount);
}

DeviceMemory CurrentDeviceMemory() {
  std::size_t free = 0;
  std::size_t total = 0;
  Check(cudaMemGetInfo(&free, &total), "asking for the device's memory");
  return {.free = static_cast<long long>(free),
          .total = static_cast<long long>(total)};
}

std::string DescribeCurrentDevice() {
  int device = 0;
  int runtime = 0;
  int driver = 0;
  cudaDeviceProp properties;
  Check(cudaGetDevice(&device), "asking for the device");
  Check(cudaGetDeviceProperties(&properties, device),
        "asking for the device's properties");
  Check(cudaRuntimeGetVersion(&runtime), "asking for CUDA's version");
  Check(cudaDriverGetVersion(&driver), "asking for the driver's version");
  return std::string(properties.name) + ", compute capability " +
         std::to_string(properties.major) + "." +
         std::to_string(properties.minor) + ", CUDA " + Version(runtime) +
         ", driver for CUDA " + Version(driver);
}

}  // namespace heatkv::kernels
