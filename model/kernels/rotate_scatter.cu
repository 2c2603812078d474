#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cmath>

#include "model/kernels/rotate_scatter.h"

namespace heatkv::kernels {
namespace {

constexpr int kWarps = 8;
constexpr float kSmallestNorm = 1e-12f;

__device__ float WarpSum(float value) {
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  }
  return value;
}

__device__ bool IsFinite(float2 x) { return isfinite(x.x) && isfinite(x.y); }

// Normalises, scales and turns one vector, of which this thread has the pairs
// lane, lane + 32, ...  Returns whether they came out finite.
template <int kPairs>
__device__ bool NormaliseAndTurn(const __nv_bfloat162* from,
                                 const float2* rotations, float scale,
                                 int pairs, int lane, __nv_bfloat162* to) {
  float2 x[kPairs];
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const int pair = i * 32 + lane;
    x[i] = {0, 0};
    if (pair < pairs) x[i] = __bfloat1622float2(from[pair]);
    squares += x[i].x * x[i].x + x[i].y * x[i].y;
  }
  const float norm = fmaxf(sqrtf(WarpSum(squares)), kSmallestNorm);
  bool finite = true;
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const int pair = i * 32 + lane;
    if (pair >= pairs) continue;
    const float a = x[i].x / norm * scale;
    const float b = x[i].y / norm * scale;
    const float2 turn = rotations[pair];
    const float2 turned = {a * turn.x - b * turn.y, a * turn.y + b * turn.x};
    to[pair] = __floats2bfloat162_rn(turned.x, turned.y);
    finite = finite && IsFinite(turned);
  }
  return finite;
}

// One warp for each (row, token, head).
template <int kPairs>
__global__ void __launch_bounds__(kWarps * 32)
    RotateScatterKernel(RotateScatter work) {
  const std::int64_t index =
      static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int head = static_cast<int>(index % work.heads);
  const std::int64_t row_token = index / work.heads;
  const int token = static_cast<int>(row_token % work.tokens);
  const int row = static_cast<int>(row_token / work.tokens);
  if (row >= work.rows) return;
  const int pairs = work.head_width / 2;
  const std::int64_t layer_pairs =
      static_cast<std::int64_t>(work.heads) * pairs;
  const __nv_bfloat162* const product =
      static_cast<const __nv_bfloat162*>(work.product) +
      row_token * 3 * layer_pairs + head * pairs;
  const float2* const rotations =
      reinterpret_cast<const float2*>(work.rotations) +
      static_cast<std::int64_t>(token) * pairs;
  const std::int64_t vector =
      work.queries_by_token
          ? index
          : (static_cast<std::int64_t>(row) * work.heads + head) * work.tokens +
                token;
  __nv_bfloat162* const query =
      static_cast<__nv_bfloat162*>(work.queries) + vector * pairs;
  const std::int64_t staged =
      (static_cast<std::int64_t>(work.current[row * work.heads + head]) +
       token) *
      pairs;
  NormaliseAndTurn<kPairs>(product, rotations, work.query_scale[head], pairs,
                           lane, query);
  __nv_bfloat162* const key = static_cast<__nv_bfloat162*>(work.keys) + staged;
  bool finite = NormaliseAndTurn<kPairs>(product + layer_pairs, rotations, 1.0f,
                                         pairs, lane, key);
  __nv_bfloat162* const value =
      static_cast<__nv_bfloat162*>(work.values) + staged;
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const int pair = i * 32 + lane;
    if (pair >= pairs) continue;
    value[pair] = product[2 * layer_pairs + pair];
    finite = finite && IsFinite(__bfloat1622float2(value[pair]));
  }
  if (__all_sync(0xffffffffu, finite)) return;
  for (int pair = lane; pair < pairs; pair += 32) {
    query[pair] = __float2bfloat162_rn(NAN);
    key[pair] = value[pair] = __float2bfloat162_rn(0);
  }
}

}  // namespace

void Launch(const RotateScatter& work, Stream stream) {
  const std::int64_t warps =
      static_cast<std::int64_t>(work.rows) * work.tokens * work.heads;
  const int blocks = static_cast<int>((warps + kWarps - 1) / kWarps);
  const int pairs = (work.head_width / 2 + 31) / 32;
  if (pairs <= 1) {
    RotateScatterKernel<1><<<blocks, kWarps * 32, 0, stream>>>(work);
  } else if (pairs <= 2) {
    RotateScatterKernel<2><<<blocks, kWarps * 32, 0, stream>>>(work);
  } else if (pairs <= 4) {
    RotateScatterKernel<4><<<blocks, kWarps * 32, 0, stream>>>(work);
  } else {
    throw CudaError("rotation: head width " + std::to_string(work.head_width) +
                    " is more than 256");
  }
  CheckLaunch("rotation of queries and keys");
}

}  // namespace heatkv::kernels
