#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <string>

#include "model/kernels/interleave.h"

namespace heatkv::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kVector = 8;  // values of 16 bytes

// A row of x for each blockIdx.y in turn; threads take vectors of it.
__global__ void __launch_bounds__(kThreads) InterleaveKernel(Interleave work) {
  const int vectors = work.channels / kVector;
  const int in_row = work.width * vectors;
  const uint4* const x = static_cast<const uint4*>(work.x);
  uint4* const out = static_cast<uint4*>(work.out);
  for (int row = blockIdx.y; row < work.height; row += gridDim.y) {
    const std::int64_t read =
        static_cast<std::int64_t>(row) * work.row_pixels * vectors;
    const std::int64_t write =
        static_cast<std::int64_t>(row) * 4 * work.width * vectors;
    for (int index = blockIdx.x * kThreads + threadIdx.x; index < in_row;
         index += gridDim.x * kThreads) {
      const int pixel = index / vectors;
      const int vector = index % vectors;
      uint4 raw = x[read + index];
      __nv_bfloat162* const pairs = reinterpret_cast<__nv_bfloat162*>(&raw);
      const float4* const bias =
          reinterpret_cast<const float4*>(work.bias + vector * kVector);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float4 b = bias[half];
        const float2 low = __bfloat1622float2(pairs[2 * half]);
        const float2 high = __bfloat1622float2(pairs[2 * half + 1]);
        pairs[2 * half] = __floats2bfloat162_rn(low.x + b.x, low.y + b.y);
        pairs[2 * half + 1] = __floats2bfloat162_rn(high.x + b.z, high.y + b.w);
      }
      out[write + static_cast<std::int64_t>(pixel) * 2 * vectors + vector] =
          raw;
    }
  }
}

}  // namespace

void Launch(const Interleave& work, Stream stream) {
  if (work.channels % kVector != 0) {
    throw CudaError("interleaving: " + std::to_string(work.channels) +
                    " channels are no multiple of 8");
  }
  const int in_row = work.width * (work.channels / kVector);
  const dim3 blocks((in_row + kThreads - 1) / kThreads,
                    std::min(work.height, 65535));
  InterleaveKernel<<<blocks, kThreads, 0, stream>>>(work);
  CheckLaunch("interleaving");
}

}  // namespace heatkv::kernels
