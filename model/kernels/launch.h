// What all kernels share: how a stream is named without CUDA's headers, and how
// a failed launch is told.
//
// Functions of this folder enqueue work and return.  Pointers are device
// pointers unless said otherwise; "bf16" means bfloat16 values, whose pointers
// are void because plain C++ has no such type.  A failure is a CudaError.

#ifndef MODEL_KERNELS_LAUNCH_H_
#define MODEL_KERNELS_LAUNCH_H_

#include <stdexcept>
#include <string>

struct CUstream_st;

namespace heatkv::kernels {

using Stream = CUstream_st*;  // cudaStream_t

class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws CudaError, naming `what`, if the last launch on this thread failed.
void CheckLaunch(const char* what);

// Streaming multiprocessors of the current device.
int Multiprocessors();

// Bytes of the current device.
struct DeviceMemory {
  long long free = 0;
  long long total = 0;
};
DeviceMemory CurrentDeviceMemory();

// "NVIDIA H100 80GB HBM3, compute capability 9.0, CUDA 13.0, driver for CUDA
// 13.0", of the current device.
std::string DescribeCurrentDevice();

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_LAUNCH_H_
