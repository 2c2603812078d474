#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "model/kernels/early_launch.cuh"
#include "model/kernels/embed_codes.h"

namespace heatkv::kernels {
namespace {

constexpr int kThreads = 256;
// A block's share: so many tokens of a slot ...
constexpr int kTileTokens = 64;

// ... and 4 columns for each of kLanes lanes.  The threads that have the same
// columns divide the tokens among themselves: thread group g has tokens g,
// g + kGroups, ..., so that it may keep a weight for kTokens products.
template <int kLanes>
struct Tile {
  static constexpr int kColumns = 4 * kLanes;
  static constexpr int kGroups = kThreads / kLanes;
  static constexpr int kTokens = kTileTokens / kGroups;
};

constexpr int Quads(int bits) { return (bits + 3) / 4; }

// Walks over the quads, which are four neighbouring values each, of lines of
// `quads` of them: a thread takes every kThreads-th.
struct Walk {
  int quads;
  int line;
  int quad;
  int line_step;
  int quad_step;

  __device__ explicit Walk(int quads)
      : quads(quads),
        line(static_cast<int>(threadIdx.x) / quads),
        quad(static_cast<int>(threadIdx.x) % quads),
        line_step(kThreads / quads),
        quad_step(kThreads % quads) {}
  __device__ void Step() {
    line += line_step;
    quad += quad_step;
    if (quad >= quads) {
      quad -= quads;
      ++line;
    }
  }
};

// Copies `count` lines, at most kMostLines, of `bits` values, at most
// kMostBits, to shared memory: quad q of line l to place(l, q).  Values behind
// the end of a line are zeros, which change no sum.
template <int kMostLines, int kMostBits, typename Place>
__device__ void Fetch(const float* lines, int count, int bits, Place place) {
  const int quads = Quads(bits);
  Walk walk(quads);
  if (bits % 4 != 0) {
#pragma unroll 1
    for (; walk.line < count; walk.Step()) {
      const float* const line = lines + walk.line * bits;
      const int k = 4 * walk.quad;
      *place(walk.line, walk.quad) = {line[k], k + 1 < bits ? line[k + 1] : 0,
                                      k + 2 < bits ? line[k + 2] : 0,
                                      k + 3 < bits ? line[k + 3] : 0};
    }
    return;
  }
  // All at once, because they take long to come.
  constexpr int kTurns =
      (kMostLines * Quads(kMostBits) + kThreads - 1) / kThreads;
  const float4* const source = reinterpret_cast<const float4*>(lines);
  const int total = count * quads;
  float4 values[kTurns];
#pragma unroll
  for (int turn = 0; turn < kTurns; ++turn) {
    const int index = turn * kThreads + static_cast<int>(threadIdx.x);
    if (index < total) values[turn] = source[index];
  }
#pragma unroll
  for (int turn = 0; turn < kTurns; ++turn, walk.Step()) {
    if (walk.line < count) *place(walk.line, walk.quad) = values[turn];
  }
}

__device__ float MultiplyAdd(float4 code, float4 weight, float sum) {
  sum = fmaf(code.x, weight.x, sum);
  sum = fmaf(code.y, weight.y, sum);
  sum = fmaf(code.z, weight.z, sum);
  return fmaf(code.w, weight.w, sum);
}

// Blocks that a multiprocessor runs at once.
template <int kLanes>
constexpr int kResident = kLanes == 32 ? 3 : 2;

// A block for each tile; blocks beside each other have the same tokens.
template <int kLanes, int kMostBits>
__global__ void __launch_bounds__(kThreads, kResident<kLanes>)
    EmbedCodesKernel(EmbedCodes work) {
  constexpr int kColumns = Tile<kLanes>::kColumns;
  constexpr int kGroups = Tile<kLanes>::kGroups;
  constexpr int kTokens = Tile<kLanes>::kTokens;
  // Odd pitches, against conflicts of banks.
  constexpr int kWeightPitch = kColumns + 1;
  constexpr int kCodePitch = Quads(kMostBits) | 1;
  // Four bits of a column each: [quad][column % 4][column / 4], so that
  // neighbouring lanes read neighbouring places.
  __shared__ float4 weights[Quads(kMostBits) * kWeightPitch];
  __shared__ float4 codes[kTileTokens * kCodePitch];  // [token][quad]
  __shared__ float4 bias[kLanes];
  __shared__ float4 level[kLanes];
  LetSuccessorCome();
  const int thread = static_cast<int>(threadIdx.x);
  const int slot = static_cast<int>(blockIdx.z);
  const int first_column = static_cast<int>(blockIdx.x) * kColumns;
  const int first_token = static_cast<int>(blockIdx.y) * kTileTokens;
  const int columns = min(kColumns, work.width - first_column);
  const int tokens = min(kTileTokens, work.tokens - first_token);

  Fetch<kColumns, kMostBits>(
      work.weight + static_cast<std::int64_t>(first_column) * work.bits,
      columns, work.bits, [&](int column, int quad) {
        return &weights[quad * kWeightPitch + column % 4 * kLanes + column / 4];
      });
  if (4 * thread < columns) {
    const int column = first_column + 4 * thread;
    bias[thread] = *reinterpret_cast<const float4*>(work.bias + column);
    level[thread] = *reinterpret_cast<const float4*>(work.level + column);
  }
  WaitForPredecessor();
  Fetch<kTileTokens, kMostBits>(
      work.codes +
          (static_cast<std::int64_t>(slot) * work.tokens + first_token) *
              work.bits,
      tokens, work.bits,
      [&](int token, int quad) { return &codes[token * kCodePitch + quad]; });
  __syncthreads();

  const int lane = thread % kLanes;
  const int group = thread / kLanes;
  if (4 * lane >= columns || group >= tokens) return;
  // Behind the last token is whatever there was: nobody stores its sums.
  float4 sums[kTokens];
#pragma unroll
  for (int i = 0; i < kTokens; ++i) sums[i] = {0, 0, 0, 0};
  const int quads = Quads(work.bits);
  for (int quad = 0; quad < quads; ++quad) {
    float4 weight[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      weight[i] = weights[quad * kWeightPitch + i * kLanes + lane];
    }
#pragma unroll
    for (int i = 0; i < kTokens; ++i) {
      const float4 code = codes[(group + i * kGroups) * kCodePitch + quad];
      sums[i].x = MultiplyAdd(code, weight[0], sums[i].x);
      sums[i].y = MultiplyAdd(code, weight[1], sums[i].y);
      sums[i].z = MultiplyAdd(code, weight[2], sums[i].z);
      sums[i].w = MultiplyAdd(code, weight[3], sums[i].w);
    }
  }

  const float4 b = bias[lane];
  const float4 l = level[lane];
#pragma unroll
  for (float4& sum : sums) {
    sum = {(sum.x + b.x) + l.x, (sum.y + b.y) + l.y, (sum.z + b.z) + l.z,
           (sum.w + b.w) + l.w};
  }
#pragma unroll 1
  for (int branch = 0; branch < work.branches; ++branch) {
    const std::int64_t row =
        (static_cast<std::int64_t>(slot) * work.branches + branch) *
            work.tokens +
        first_token + group;
    float* out = work.out + row * work.width + first_column + 4 * lane;
#pragma unroll
    for (int i = 0; i < kTokens; ++i) {
      if (group + i * kGroups < tokens) {
        *reinterpret_cast<float4*>(out) = sums[i];
      }
      out += static_cast<std::int64_t>(kGroups) * work.width;
    }
  }
}

int ColumnTiles(const EmbedCodes& work, int lanes) {
  return (work.width + 4 * lanes - 1) / (4 * lanes);
}

int TokenTiles(const EmbedCodes& work) {
  return (work.tokens + kTileTokens - 1) / kTileTokens;
}

template <int kLanes, int kMostBits>
void LaunchWith(const EmbedCodes& work, Stream stream) {
  LaunchEarly("embedding of codes", EmbedCodesKernel<kLanes, kMostBits>,
              dim3(ColumnTiles(work, kLanes), TokenTiles(work), work.slots),
              kThreads, stream, work);
}

}  // namespace

void Launch(const EmbedCodes& work, Stream stream) {
  if (work.bits < 1 || work.bits > kMostEmbeddedBits) {
    throw CudaError("embedding of codes: " + std::to_string(work.bits) +
                    " bits are not 1 to " + std::to_string(kMostEmbeddedBits));
  }
  if (work.width % 4 != 0) {
    throw CudaError("embedding of codes: width " + std::to_string(work.width) +
                    " is not a multiple of 4");
  }
  // The widest tiles of which every multiprocessor has one.
  const int multiprocessors = Multiprocessors();
  const auto suffice = [&](int lanes) {
    return ColumnTiles(work, lanes) * TokenTiles(work) * work.slots >=
           multiprocessors;
  };
  if (work.bits <= 32 && suffice(32)) {
    LaunchWith<32, 32>(work, stream);
  } else if (work.bits <= 56 && suffice(32)) {
    LaunchWith<32, 56>(work, stream);
  } else if (suffice(16)) {
    LaunchWith<16, kMostEmbeddedBits>(work, stream);
  } else if (suffice(8)) {
    LaunchWith<8, kMostEmbeddedBits>(work, stream);
  } else {
    LaunchWith<4, kMostEmbeddedBits>(work, stream);
  }
}

}  // namespace heatkv::kernels
