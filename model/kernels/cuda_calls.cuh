// Calls of CUDA's run time, checked.  For this folder's .cu files alone.

#ifndef MODEL_KERNELS_CUDA_CALLS_CUH_
#define MODEL_KERNELS_CUDA_CALLS_CUH_

#include <cuda_runtime.h>

#include <string>

#include "model/kernels/launch.h"

namespace heatkv::kernels {

// Throws CudaError, naming `what`, if a call failed, and forgets the failure,
// so that nobody else is told of it.
inline void Check(cudaError_t error, const std::string& what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();
  throw CudaError(what + ": " + cudaGetErrorString(error));
}

// Of the current device.
inline int DeviceAttribute(cudaDeviceAttr attribute) {
  int device = 0;
  int value = 0;
  Check(cudaGetDevice(&device), "asking for the device");
  Check(cudaDeviceGetAttribute(&value, attribute, device),
        "asking for the device's attributes");
  return value;
}

// Whether the current device runs code for compute capability 9.0a.
inline bool IsHopper() {
  return DeviceAttribute(cudaDevAttrComputeCapabilityMajor) == 9 &&
         DeviceAttribute(cudaDevAttrComputeCapabilityMinor) == 0;
}

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_CUDA_CALLS_CUH_
