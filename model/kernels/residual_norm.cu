#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>

#include "model/kernels/residual_norm.h"

namespace heatkv::kernels {
namespace {

constexpr int kThreads = 256;

__device__ float4 Load(const RowVector& v, int row, int column) {
  float4 sum = {0, 0, 0, 0};
  if (v.layer != nullptr) {
    sum = *reinterpret_cast<const float4*>(v.layer + column);
  }
  if (v.rows != nullptr) {
    const float4 part =
        *reinterpret_cast<const float4*>(v.rows + row * v.row_stride + column);
    sum.x += part.x;
    sum.y += part.y;
    sum.z += part.z;
    sum.w += part.w;
  }
  return sum;
}

__device__ float4 LoadBf16(const __nv_bfloat16* p) {
  const uint2 raw = *reinterpret_cast<const uint2*>(p);
  const float2 low =
      __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&raw.x));
  const float2 high =
      __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&raw.y));
  return {low.x, low.y, high.x, high.y};
}

__device__ void StoreBf16(__nv_bfloat16* p, float4 v) {
  uint2 raw;
  *reinterpret_cast<__nv_bfloat162*>(&raw.x) = __floats2bfloat162_rn(v.x, v.y);
  *reinterpret_cast<__nv_bfloat162*>(&raw.y) = __floats2bfloat162_rn(v.z, v.w);
  *reinterpret_cast<uint2*>(p) = raw;
}

// The sum over the block, the same in every thread.
__device__ float BlockSum(float value, float* shared) {
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  }
  __syncthreads();  // shared is free again
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
  for (int warp = 0; warp < kThreads / 32; ++warp) sum += shared[warp];
  return sum;
}

// A block computes `tokens_per_block` neighbouring tokens of one row, a thread
// always the same kVectors * 4 columns, whose gate, scale and shift it keeps.
template <int kVectors>
__global__ void __launch_bounds__(kThreads)
    ResidualNormKernel(ResidualNorm work, int tokens_per_block) {
  __shared__ float shared[kThreads / 32];
  const int row = blockIdx.y;
  float4 gate[kVectors];
  float4 scale[kVectors];
  float4 shift[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = (i * kThreads + threadIdx.x) * 4;
    gate[i] = {1, 1, 1, 1};
    scale[i] = shift[i] = {0, 0, 0, 0};
    if (column >= work.width) continue;
    if (work.gated) gate[i] = Load(work.gate, row, column);
    scale[i] = Load(work.scale, row, column);
    shift[i] = Load(work.shift, row, column);
    scale[i].x += work.offset;
    scale[i].y += work.offset;
    scale[i].z += work.offset;
    scale[i].w += work.offset;
  }
  const int first = blockIdx.x * tokens_per_block;
  const int last = min(first + tokens_per_block, work.tokens);
  for (int token = first; token < last; ++token) {
    const std::int64_t base =
        (static_cast<std::int64_t>(row) * work.tokens + token) * work.width;
    float4 x[kVectors];
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int column = (i * kThreads + threadIdx.x) * 4;
      x[i] = {0, 0, 0, 0};
      if (column >= work.width) continue;
      float4* const place = reinterpret_cast<float4*>(work.x + base + column);
      x[i] = *place;
      if (work.added != nullptr) {
        const float4 added = LoadBf16(
            static_cast<const __nv_bfloat16*>(work.added) + base + column);
        x[i].x += gate[i].x * added.x;
        x[i].y += gate[i].y * added.y;
        x[i].z += gate[i].z * added.z;
        x[i].w += gate[i].w * added.w;
        *place = x[i];
      }
      sum += (x[i].x + x[i].y) + (x[i].z + x[i].w);
    }
    const float mean = BlockSum(sum, shared) / work.width;
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int column = (i * kThreads + threadIdx.x) * 4;
      if (column >= work.width) continue;
      x[i].x -= mean;
      x[i].y -= mean;
      x[i].z -= mean;
      x[i].w -= mean;
      squares += (x[i].x * x[i].x + x[i].y * x[i].y) +
                 (x[i].z * x[i].z + x[i].w * x[i].w);
    }
    const float inverse =
        rsqrtf(BlockSum(squares, shared) / work.width + work.epsilon);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int column = (i * kThreads + threadIdx.x) * 4;
      if (column >= work.width) continue;
      const float4 out = {x[i].x * inverse * scale[i].x + shift[i].x,
                          x[i].y * inverse * scale[i].y + shift[i].y,
                          x[i].z * inverse * scale[i].z + shift[i].z,
                          x[i].w * inverse * scale[i].w + shift[i].w};
      if (work.out_bf16 != nullptr) {
        StoreBf16(static_cast<__nv_bfloat16*>(work.out_bf16) + base + column,
                  out);
      } else {
        *reinterpret_cast<float4*>(work.out_float + base + column) = out;
      }
    }
  }
}

}  // namespace

void Launch(const ResidualNorm& work, Stream stream) {
  const int tokens_per_block = std::clamp(work.rows * work.tokens / 1024, 1, 8);
  const dim3 grid((work.tokens + tokens_per_block - 1) / tokens_per_block,
                  work.rows);
  const int vectors = (work.width + 4 * kThreads - 1) / (4 * kThreads);
  if (vectors <= 1) {
    ResidualNormKernel<1>
        <<<grid, kThreads, 0, stream>>>(work, tokens_per_block);
  } else if (vectors <= 2) {
    ResidualNormKernel<2>
        <<<grid, kThreads, 0, stream>>>(work, tokens_per_block);
  } else if (vectors <= 4) {
    ResidualNormKernel<4>
        <<<grid, kThreads, 0, stream>>>(work, tokens_per_block);
  } else if (vectors <= 8) {
    ResidualNormKernel<8>
        <<<grid, kThreads, 0, stream>>>(work, tokens_per_block);
  } else {
    throw CudaError("residual norm: width " + std::to_string(work.width) +
                    " is more than 8192");
  }
  CheckLaunch("residual norm");
}

}  // namespace heatkv::kernels
