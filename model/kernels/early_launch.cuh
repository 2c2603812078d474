// Launches of kernels that may start before the kernel in front of them in
// their stream has ended (CUDA's programmatic dependent launch): what they read
// besides that one's results is fetched meanwhile, and the time between two
// kernels is shorter.  Recorded launches stay what they are.
//
// The rule: every thread of such a kernel calls WaitForPredecessor once, before
// it ends, writes anything, or reads what any kernel of the same step writes.
// So whoever is launched next finds all that lies before it done, too.
//
// For kernels alone.  Devices before compute capability 9.0 wait in front of
// the kernel, as ever.

#ifndef MODEL_KERNELS_EARLY_LAUNCH_CUH_
#define MODEL_KERNELS_EARLY_LAUNCH_CUH_

#include <cuda_runtime.h>

#include "model/kernels/launch.h"

namespace heatkv::kernels {

__device__ inline void WaitForPredecessor() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

// Called by every thread, as early as can be: once all blocks are there, the
// next kernel's may come beside them, fetch what is theirs, and wait.  (A
// kernel that does not call it lets the next one come where its blocks end.)
__device__ inline void LetSuccessorCome() {
#if __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

// Whether the code of a kernel for the current device has the wait.
bool HasWait(const void* kernel);

// Throws CudaError, naming `what`, if the launch fails.
template <typename... Parameters>
void LaunchEarly(const char* what, void (*kernel)(Parameters...), dim3 blocks,
                 int threads, Stream stream, const Parameters&... parameters) {
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = blocks;
  config.blockDim = dim3(threads);
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = HasWait(reinterpret_cast<const void*>(kernel)) ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, parameters...);
  CheckLaunch(what);
}

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_EARLY_LAUNCH_CUH_
