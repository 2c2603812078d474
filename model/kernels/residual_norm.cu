#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "model/kernels/early_launch.cuh"
#include "model/kernels/residual_norm.h"
#include "model/kernels/span_copy.cuh"

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

__device__ float4 Unpack(uint2 raw) {
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

// The sum over the block, the same in every thread.  `shared` may be used again
// once another sum has been taken in between.
__device__ float BlockSum(float value, float* shared) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  }
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < kThreads / 32; ++warp) sum += shared[warp];
  return sum;
}

// A thread's columns of a token, as they lie in memory.
template <int kVectors>
struct Columns {
  float4 x[kVectors];
  uint2 added[kVectors];  // bf16
};

// The columns of the token at `base`; what lies beyond the width is 0.
template <int kVectors>
__device__ Columns<kVectors> Fetch(const ResidualNorm& work,
                                   std::int64_t base) {
  Columns<kVectors> columns;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = (i * kThreads + threadIdx.x) * 4;
    columns.x[i] = {0, 0, 0, 0};
    columns.added[i] = {0, 0};
    if (column >= work.width) continue;
    columns.x[i] = *reinterpret_cast<const float4*>(work.x + base + column);
    if (work.added != nullptr) {
      columns.added[i] = *reinterpret_cast<const uint2*>(
          static_cast<const __nv_bfloat16*>(work.added) + base + column);
    }
  }
  return columns;
}

// How a launch is divided: `blocks` blocks normalise, each `tokens`
// neighbouring tokens of one row, of which there are `chunks` a row; the others
// store.
struct Division {
  int blocks = 0;
  int chunks = 0;
  int tokens = 0;
};

// Blocks that a multiprocessor runs at once.
template <int kVectors>
constexpr int kResident = kVectors <= 2 ? 4 : (kVectors <= 4 ? 2 : 1);

// A thread always has the same kVectors * 4 columns, whose gate, scale and
// shift it keeps, and fetches a token while it computes the one before.
template <int kVectors>
__global__ void __launch_bounds__(kThreads, kResident<kVectors>)
    ResidualNormKernel(ResidualNorm work, Division division) {
  __shared__ float shared[2][kThreads / 32];
  LetSuccessorCome();
  const int block = static_cast<int>(blockIdx.x);
  if (block >= division.blocks) {
    CopySpans</*kToArena=*/true>(work.stores, block - division.blocks,
                                 static_cast<int>(gridDim.x) - division.blocks);
    return;
  }
  const int row = block / division.chunks;
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
  WaitForPredecessor();
  const int first = block % division.chunks * division.tokens;
  const int last = min(first + division.tokens, work.tokens);
  std::int64_t base =
      (static_cast<std::int64_t>(row) * work.tokens + first) * work.width;
  Columns<kVectors> next = Fetch<kVectors>(work, base);
  for (int token = first; token < last; ++token, base += work.width) {
    float4 x[kVectors];
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const float4 added = Unpack(next.added[i]);
      x[i] = next.x[i];
      x[i].x += gate[i].x * added.x;
      x[i].y += gate[i].y * added.y;
      x[i].z += gate[i].z * added.z;
      x[i].w += gate[i].w * added.w;
      sum += (x[i].x + x[i].y) + (x[i].z + x[i].w);
    }
    if (token + 1 < last) next = Fetch<kVectors>(work, base + work.width);
    if (work.added != nullptr) {
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        const int column = (i * kThreads + threadIdx.x) * 4;
        if (column >= work.width) continue;
        *reinterpret_cast<float4*>(work.x + base + column) = x[i];
      }
    }
    const float mean = BlockSum(sum, shared[0]) / work.width;
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
        rsqrtf(BlockSum(squares, shared[1]) / work.width + work.epsilon);
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

template <int kVectors>
void LaunchWith(const ResidualNorm& work, Stream stream) {
  // As many blocks as run at the same time, or fewer tokens than that.
  const int resident = Multiprocessors() * kResident<kVectors>;
  Division division;
  division.tokens = (work.rows * work.tokens + resident - 1) / resident;
  division.chunks = (work.tokens + division.tokens - 1) / division.tokens;
  division.blocks = division.chunks * work.rows;
  LaunchEarly("residual norm", ResidualNormKernel<kVectors>,
              division.blocks + CopyBlocks(work.stores, kThreads), kThreads,
              stream, work, division);
}

}  // namespace

void Launch(const ResidualNorm& work, Stream stream) {
  const int vectors = (work.width + 4 * kThreads - 1) / (4 * kThreads);
  if (vectors <= 1) {
    LaunchWith<1>(work, stream);
  } else if (vectors <= 2) {
    LaunchWith<2>(work, stream);
  } else if (vectors <= 4) {
    LaunchWith<4>(work, stream);
  } else if (vectors <= 8) {
    LaunchWith<8>(work, stream);
  } else {
    throw CudaError("residual norm: width " + std::to_string(work.width) +
                    " is more than 8192");
  }
}

}  // namespace heatkv::kernels
