#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "model/kernels/early_launch.cuh"
#include "model/kernels/rotate_scatter.h"
#include "model/kernels/span_copy.cuh"

namespace heatkv::kernels {
namespace {

constexpr int kThreads = 256;
// A thread's share of a head's vector: 16 bytes.
constexpr int kValues = 8;
constexpr float kSmallestNorm = 1e-12f;
constexpr std::uint32_t kNans = 0x7fc07fc0u;  // two bf16

// The sum over kLanes neighbouring lanes.  All lanes of the warp take part.
template <int kLanes>
__device__ float LaneSum(float value) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  }
  return value;
}

__device__ float2 Unpack(std::uint32_t pair) {
  return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&pair));
}

__device__ std::uint32_t Pack(float a, float b) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

// Whether all of a thread's values are finite.
__device__ bool IsFinite(uint4 raw) {
  bool finite = true;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = Unpack((&raw.x)[i]);
    finite = finite && isfinite(pair.x) && isfinite(pair.y);
  }
  return finite;
}

// Whether `value` is true of all kLanes neighbouring lanes.  All lanes of the
// warp take part.
template <int kLanes>
__device__ bool LaneAll(bool value) {
  constexpr unsigned kOnes = 0xffffffffu >> (32 - kLanes);
  const unsigned lanes = kOnes << (threadIdx.x % 32 / kLanes * kLanes);
  return (__ballot_sync(0xffffffffu, value) & lanes) == lanes;
}

// Normalises, scales and turns one vector, which kLanes lanes share.
template <int kLanes>
__device__ uint4 NormaliseAndTurn(uint4 raw, const float4* turns, float scale) {
  const float2 x[4] = {Unpack(raw.x), Unpack(raw.y), Unpack(raw.z),
                       Unpack(raw.w)};
  float squares = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) squares += x[i].x * x[i].x + x[i].y * x[i].y;
  const float factor =
      scale / fmaxf(sqrtf(LaneSum<kLanes>(squares)), kSmallestNorm);
  std::uint32_t out[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float a = x[i].x * factor;
    const float b = x[i].y * factor;
    const float2 turn = i % 2 == 0 ? float2{turns[i / 2].x, turns[i / 2].y}
                                   : float2{turns[i / 2].z, turns[i / 2].w};
    out[i] = Pack(a * turn.x - b * turn.y, a * turn.y + b * turn.x);
  }
  return {out[0], out[1], out[2], out[3]};
}

// The first `scatter_blocks` blocks: kLanes lanes for each (row, token, head),
// of which the first head_width / kValues have something to do.  The others
// copy prefixes.
template <int kLanes>
__global__ void __launch_bounds__(kThreads)
    RotateScatterKernel(RotateScatter work, int scatter_blocks) {
  LetSuccessorCome();
  const int block = static_cast<int>(blockIdx.x);
  if (block >= scatter_blocks) {
    CopySpans</*kToArena=*/false>(work.prefixes, block - scatter_blocks,
                                  static_cast<int>(gridDim.x) - scatter_blocks);
    return;
  }
  const int index =
      block * (kThreads / kLanes) + static_cast<int>(threadIdx.x) / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int units = work.head_width / kValues;
  const int head = index % work.heads;
  const int row_token = index / work.heads;
  const int token = row_token % work.tokens;
  const int row = row_token / work.tokens;
  const bool is_mine = row < work.rows && lane < units;

  const std::int64_t layer_units =
      static_cast<std::int64_t>(work.heads) * units;
  const uint4* const product = static_cast<const uint4*>(work.product) +
                               row_token * 3 * layer_units + head * units +
                               lane;
  uint4 query = {0, 0, 0, 0};
  uint4 key = {0, 0, 0, 0};
  uint4 value = {0, 0, 0, 0};
  float4 turns[2] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
  float scale = 0;
  int first = 0;
  if (is_mine) {
    const float4* const rotations =
        reinterpret_cast<const float4*>(work.rotations) +
        (static_cast<std::int64_t>(token) * units + lane) * 2;
    turns[0] = rotations[0];
    turns[1] = rotations[1];
    scale = work.query_scale[head];
    first = work.current[row * work.heads + head];
  }
  WaitForPredecessor();
  if (is_mine) {
    query = product[0];
    key = product[layer_units];
    value = product[2 * layer_units];
  }
  query = NormaliseAndTurn<kLanes>(query, turns, scale);
  key = NormaliseAndTurn<kLanes>(key, turns, 1.0f);
  if (!LaneAll<kLanes>(IsFinite(key) && IsFinite(value))) {
    query = {kNans, kNans, kNans, kNans};
    key = value = {0, 0, 0, 0};
  }
  if (!is_mine) return;
  const std::int64_t queried =
      work.queries_by_token
          ? index
          : (static_cast<std::int64_t>(row) * work.heads + head) * work.tokens +
                token;
  static_cast<uint4*>(work.queries)[queried * units + lane] = query;
  const std::int64_t staged =
      (static_cast<std::int64_t>(first) + token) * units + lane;
  static_cast<uint4*>(work.keys)[staged] = key;
  static_cast<uint4*>(work.values)[staged] = value;
}

template <int kLanes>
void LaunchWith(const RotateScatter& work, Stream stream) {
  constexpr std::int64_t kVectors = kThreads / kLanes;  // of a block
  const std::int64_t vectors =
      static_cast<std::int64_t>(work.rows) * work.tokens * work.heads;
  const int blocks = static_cast<int>((vectors + kVectors - 1) / kVectors);
  LaunchEarly("rotation of queries and keys", RotateScatterKernel<kLanes>,
              blocks + CopyBlocks(work.prefixes, kThreads), kThreads, stream,
              work, blocks);
}

}  // namespace

void Launch(const RotateScatter& work, Stream stream) {
  const int units = work.head_width / kValues;
  if (work.head_width % kValues != 0 || units > 32) {
    throw CudaError("rotation: head width " + std::to_string(work.head_width) +
                    " is not a multiple of 8 up to 256");
  }
  if (units <= 1) {
    LaunchWith<1>(work, stream);
  } else if (units <= 2) {
    LaunchWith<2>(work, stream);
  } else if (units <= 4) {
    LaunchWith<4>(work, stream);
  } else if (units <= 8) {
    LaunchWith<8>(work, stream);
  } else if (units <= 16) {
    LaunchWith<16>(work, stream);
  } else {
    LaunchWith<32>(work, stream);
  }
}

}  // namespace heatkv::kernels
