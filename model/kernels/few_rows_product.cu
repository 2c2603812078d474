// Tiles of 72 rows are among the matrix unit's further shapes.
#define CUTE_SM90_EXTENDED_MMA_SHAPES_ENABLED
#include <cooperative_groups.h>
#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <cutlass/arch/barrier.h>

#include <algorithm>
#include <cstdint>
#include <cute/arch/cluster_sm90.hpp>
#include <cute/arch/copy_sm90_desc.hpp>
#include <cute/arch/copy_sm90_tma.hpp>
#include <cute/arch/mma_sm90_gmma.hpp>
#include <cute/arch/mma_sm90_gmma_ext.hpp>
#include <string>
#include <utility>

#include "model/kernels/cuda_calls.cuh"
#include "model/kernels/early_launch.cuh"
#include "model/kernels/few_rows_product.h"

namespace heatkv::kernels {
namespace {

using FullBarrier = cutlass::arch::ClusterTransactionBarrier;
using EmptyBarrier = cutlass::arch::ClusterBarrier;

// A block makes kOutputs columns of the result for kRows of its rows from a
// part of the inputs.  Tiles lie in shared memory as lines of kLine inputs,
// swizzled by TMA; a stage has one of the weights and one of x.
constexpr int kOutputs = 64;
constexpr int kLine = 64;
constexpr int kLineBytes = kLine * 2;
constexpr int kWeightBytes = kOutputs * kLineBytes;
// Shared memory of a block: little enough for two on a multiprocessor, so that
// the next product's blocks find room while this one's are still there.
constexpr int kSharedBytes = 100 * 1024;
constexpr int kMostParts = 4;  // of the inputs: a cluster

constexpr int kConsumers = 128;
constexpr int kThreads = kConsumers + 32;

template <int kRows>
constexpr int kStageBytes = kWeightBytes + kRows* kLineBytes;
template <int kRows>
constexpr int kStages = (kSharedBytes - 2048) / kStageBytes<kRows>;
// Partial sums lie in shared memory as [row][output], padded against conflicts.
constexpr int kSumPitch = kOutputs + 4;

using cute::SM90::GMMA::Major;
// clang-format off
template <int kRows> struct MatrixUnit;
template <> struct MatrixUnit<8> { using Type = cute::SM90::GMMA::MMA_64x8x16_F32BF16BF16_SS<Major::K, Major::K>; };
template <> struct MatrixUnit<32> { using Type = cute::SM90::GMMA::MMA_64x32x16_F32BF16BF16_SS<Major::K, Major::K>; };
template <> struct MatrixUnit<64> { using Type = cute::SM90::GMMA::MMA_64x64x16_F32BF16BF16_SS<Major::K, Major::K>; };
template <> struct MatrixUnit<72> { using Type = cute::SM90::GMMA::MMA_64x72x16_F32BF16BF16_SS<Major::K, Major::K>; };
template <> struct MatrixUnit<96> { using Type = cute::SM90::GMMA::MMA_64x96x16_F32BF16BF16_SS<Major::K, Major::K>; };
template <> struct MatrixUnit<128> { using Type = cute::SM90::GMMA::MMA_64x128x16_F32BF16BF16_SS<Major::K, Major::K>; };
// clang-format on

// sums [64 weights, kRows] += weights [64, 16] x [kRows, 16]^T.
template <int kRows, std::size_t... kIndex>
__device__ void Multiply(std::uint64_t weights, std::uint64_t x, float* sums,
                         bool is_first, std::index_sequence<kIndex...>) {
  MatrixUnit<kRows>::Type::fma(weights, x, sums[kIndex]...,
                               is_first ? cute::SM90::GMMA::ScaleOut::Zero
                                        : cute::SM90::GMMA::ScaleOut::One);
}

// Names a tile of lines of 128 bytes that TMA has swizzled, aligned to 1024
// bytes, of which the matrix unit takes 16 inputs from `address` on.
__device__ std::uint64_t TileDescriptor(std::uint32_t address) {
  constexpr std::uint64_t kEightLines = 8 * kLineBytes;
  constexpr std::uint64_t kSwizzled128 = 1;
  return (kSwizzled128 << 62) | ((kEightLines >> 4) << 32) |
         (std::uint64_t{1} << 16) | ((address & 0x3ffff) >> 4);
}

// x (1 + tanh y) / 2, without a difference of nearly equal numbers.
__device__ float Gelu(float x) {
  constexpr float kRoot = 0.7978845608028654f;  // sqrt(2 / pi)
  const float y = kRoot * (x + 0.044715f * x * x * x);
  return __fdividef(x, 1 + __expf(-2 * y));
}

struct Arguments {
  const __nv_bfloat16* bias;
  __nv_bfloat16* out;
  int rows;
  int outputs;
  int lines;  // of a part of the inputs
  bool gelu;
};

// Which part of the product a block has.
struct Place {
  int part = 0;
  int first_output = 0;
  int first_row = 0;
};

// Stages in shared memory that go round between the warp that fetches and the
// warps that multiply.
template <int kRows>
struct Ring {
  std::uint8_t* stages;  // aligned to 1024 bytes
  std::uint64_t* full;   // barriers, of each stage
  std::uint64_t* empty;

  __device__ static int Stage(int line) { return line % kStages<kRows>; }
  __device__ static int Phase(int line) { return line / kStages<kRows> % 2; }
  __device__ std::uint8_t* Weights(int line) const {
    return stages + Stage(line) * kStageBytes<kRows>;
  }
  __device__ std::uint8_t* X(int line) const {
    return Weights(line) + kWeightBytes;
  }
};

// For one thread: fetches all lines of a part.  Weights are nobody's result, so
// they may come while the kernel in front of this one still runs.
template <int kRows>
__device__ void FetchLines(const CUtensorMap& x_map,
                           const CUtensorMap& weight_map, const Arguments& work,
                           const Place& place, const Ring<kRows>& ring) {
  // Weights are read once, but for the tiles of rows.
  const auto weight_hint = static_cast<std::uint64_t>(
      gridDim.y > 1 ? cute::TMA::CacheHintSm90::EVICT_NORMAL
                    : cute::TMA::CacheHintSm90::EVICT_FIRST);
  constexpr auto kHint =
      static_cast<std::uint64_t>(cute::TMA::CacheHintSm90::EVICT_LAST);
  const int first_line = place.part * work.lines;
  const auto fetch_weights = [&](int line) {
    std::uint64_t* const full = &ring.full[ring.Stage(line)];
    FullBarrier::arrive_and_expect_tx(full, kStageBytes<kRows>);
    cute::SM90_TMA_LOAD_2D::copy(
        &weight_map, full, weight_hint, ring.Weights(line),
        (first_line + line) * kLine, place.first_output);
  };
  const auto fetch_x = [&](int line) {
    cute::SM90_TMA_LOAD_2D::copy(&x_map, &ring.full[ring.Stage(line)], kHint,
                                 ring.X(line), (first_line + line) * kLine,
                                 place.first_row);
  };
  const int ahead = min(kStages<kRows>, work.lines);
  for (int line = 0; line < ahead; ++line) fetch_weights(line);
  WaitForPredecessor();
  for (int line = 0; line < ahead; ++line) fetch_x(line);
  for (int line = ahead; line < work.lines; ++line) {
    EmptyBarrier::wait(&ring.empty[ring.Stage(line)],
                       ring.Phase(line - kStages<kRows>));
    fetch_weights(line);
    fetch_x(line);
  }
}

// For the warpgroup that multiplies: sums, as the matrix unit deals them out,
// over all lines of a part.
template <int kRows>
__device__ void MultiplyLines(int lines, const Ring<kRows>& ring,
                              float (&sums)[kRows / 2]) {
  for (float& sum : sums) cute::warpgroup_fence_operand(sum);
  for (int line = 0; line < lines; ++line) {
    FullBarrier::wait(&ring.full[ring.Stage(line)], ring.Phase(line));
    const std::uint32_t weights =
        cute::cast_smem_ptr_to_uint(ring.Weights(line));
    const std::uint32_t x = cute::cast_smem_ptr_to_uint(ring.X(line));
    cute::warpgroup_arrive();
#pragma unroll
    for (int k = 0; k < kLine / 16; ++k) {
      Multiply<kRows>(TileDescriptor(weights + k * 32),
                      TileDescriptor(x + k * 32), sums, line == 0 && k == 0,
                      std::make_index_sequence<kRows / 2>());
    }
    cute::warpgroup_commit_batch();
    cute::warpgroup_wait<1>();
    // The products before these have read their stage.
    if (line > 0 && threadIdx.x == 0) {
      EmptyBarrier::arrive(&ring.empty[ring.Stage(line - 1)]);
    }
  }
  cute::warpgroup_wait<0>();
  for (float& sum : sums) cute::warpgroup_fence_operand(sum);
}

// Writes the sums as [row][output], kSumPitch apart.
template <int kRows>
__device__ void WriteSums(const float (&sums)[kRows / 2], float* partial) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int output = static_cast<int>(threadIdx.x) / 32 * 16 + lane / 4;
#pragma unroll
  for (int j = 0; j < kRows / 8; ++j) {
    float* const at = partial + (j * 8 + lane % 4 * 2) * kSumPitch + output;
    at[0] = sums[4 * j];
    at[kSumPitch] = sums[4 * j + 1];
    at[8] = sums[4 * j + 2];
    at[kSumPitch + 8] = sums[4 * j + 3];
  }
}

// Four neighbouring results.
__device__ void Finish(float4 sum, const Arguments& work, int row, int output) {
  const uint2 raw = *reinterpret_cast<const uint2*>(work.bias + output);
  const float2 low =
      __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&raw.x));
  const float2 high =
      __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&raw.y));
  sum = {sum.x + low.x, sum.y + low.y, sum.z + high.x, sum.w + high.y};
  if (work.gelu) sum = {Gelu(sum.x), Gelu(sum.y), Gelu(sum.z), Gelu(sum.w)};
  uint2 packed;
  *reinterpret_cast<__nv_bfloat162*>(&packed.x) =
      __floats2bfloat162_rn(sum.x, sum.y);
  *reinterpret_cast<__nv_bfloat162*>(&packed.y) =
      __floats2bfloat162_rn(sum.z, sum.w);
  *reinterpret_cast<uint2*>(
      work.out + static_cast<std::int64_t>(row) * work.outputs + output) =
      packed;
}

// Adds up the parts of a cluster's partial sums, in their order; every block
// does so for its share of the rows.
template <int kRows, int kParts>
__device__ void AddParts(float* partial, const Arguments& work,
                         const Place& place) {
  constexpr int kQuads = kOutputs / 4;
  constexpr int kShare = kRows * kQuads / kParts;
  static_assert(kRows * kQuads % kParts == 0);
  constexpr int kTurns = (kShare + kThreads - 1) / kThreads;
  const auto cluster = cooperative_groups::this_cluster();
  // All at once, because those of other blocks take long to come.
  float4 parts[kTurns][kParts];
#pragma unroll
  for (int turn = 0; turn < kTurns; ++turn) {
    const int quad = turn * kThreads + static_cast<int>(threadIdx.x);
    const int index = place.part * kShare + quad;
    const int at = index / kQuads * kSumPitch + index % kQuads * 4;
    if (quad >= kShare || place.first_row + index / kQuads >= work.rows) break;
#pragma unroll
    for (int other = 0; other < kParts; ++other) {
      parts[turn][other] = *reinterpret_cast<const float4*>(
          (kParts == 1 ? partial : cluster.map_shared_rank(partial, other)) +
          at);
    }
  }
#pragma unroll
  for (int turn = 0; turn < kTurns; ++turn) {
    const int quad = turn * kThreads + static_cast<int>(threadIdx.x);
    const int index = place.part * kShare + quad;
    const int row = place.first_row + index / kQuads;
    if (quad >= kShare || row >= work.rows) break;
    float4 sum = parts[turn][0];
#pragma unroll
    for (int other = 1; other < kParts; ++other) {
      sum.x += parts[turn][other].x;
      sum.y += parts[turn][other].y;
      sum.z += parts[turn][other].z;
      sum.w += parts[turn][other].w;
    }
    Finish(sum, work, row, place.first_output + index % kQuads * 4);
  }
}

// A cluster has the kParts parts of a tile of outputs.
template <int kRows, int kParts>
__global__ void __launch_bounds__(kThreads, 2)
    FewRowsKernel(const __grid_constant__ CUtensorMap x_map,
                  const __grid_constant__ CUtensorMap weight_map,
                  const Arguments work) {
  extern __shared__ std::uint8_t shared[];
  __shared__ std::uint64_t full[kStages<kRows>];
  __shared__ std::uint64_t empty[kStages<kRows>];
  const auto cluster = cooperative_groups::this_cluster();
  const Place place = {
      .part = static_cast<int>(cluster.block_rank()),
      .first_output = static_cast<int>(blockIdx.x) / kParts * kOutputs,
      .first_row = static_cast<int>(blockIdx.y) * kRows};
  const Ring<kRows> ring = {
      .stages = reinterpret_cast<std::uint8_t*>(
          (reinterpret_cast<std::uintptr_t>(shared) + 1023) &
          ~std::uintptr_t{1023}),
      .full = full,
      .empty = empty};

  LetSuccessorCome();
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages<kRows>; ++stage) {
      FullBarrier::init(&full[stage], 1);
      EmptyBarrier::init(&empty[stage], 1);
    }
    cutlass::arch::fence_barrier_init();
  }
  __syncthreads();

  float sums[kRows / 2];
  if (threadIdx.x < kConsumers) {
    MultiplyLines<kRows>(work.lines, ring, sums);
    WaitForPredecessor();
  } else if (threadIdx.x == kConsumers) {
    FetchLines<kRows>(x_map, weight_map, work, place, ring);
  } else {
    WaitForPredecessor();
  }
  __syncthreads();

  // The stages have been read: partial sums take their place.
  float* const partial = reinterpret_cast<float*>(ring.stages);
  if (threadIdx.x < kConsumers) WriteSums<kRows>(sums, partial);
  if constexpr (kParts == 1) {
    __syncthreads();
    AddParts<kRows, kParts>(partial, work, place);
  } else {
    cluster.sync();
    AddParts<kRows, kParts>(partial, work, place);
    cluster.sync();  // the others have read what is here
  }
}

decltype(&cuTensorMapEncodeTiled) Encoder() {
  static const auto encoder = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result;
    Check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found,
                                           12000, cudaEnableDefault, &result),
          "asking the driver for tensor maps");
    if (result != cudaDriverEntryPointSuccess) {
      throw CudaError("the driver makes no tensor maps");
    }
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(found);
  }();
  return encoder;
}

// Of a bf16 matrix [rows, columns], in boxes of `box_rows` lines.
CUtensorMap MapOf(const void* matrix, std::int64_t rows, std::int64_t columns,
                  int box_rows) {
  CUtensorMap map;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(columns),
                              static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(columns) * 2};
  const cuuint32_t box[] = {kLine, static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[] = {1, 1};
  const CUresult result = Encoder()(
      &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, /*rank=*/2,
      const_cast<void*>(matrix), sizes, strides, box, steps,
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw CudaError("tensor map of a matrix of " + std::to_string(rows) +
                    " x " + std::to_string(columns) + ": error " +
                    std::to_string(result));
  }
  return map;
}

// A matter of the weights' shape alone: about as many blocks work as a Hopper
// GPU has multiprocessors.
int Parts(std::int64_t inputs, std::int64_t outputs) {
  constexpr int kBlocks = 132;
  int parts = 1;
  while (2 * parts <= kMostParts &&
         2 * parts * (outputs / kOutputs) <= kBlocks &&
         inputs % (2 * parts * kLine) == 0) {
    parts *= 2;
  }
  return parts;
}

template <int kRows, int kParts>
void LaunchParts(const FewRowsProduct& work, Stream stream) {
  constexpr int kBytes =
      std::max(kStages<kRows> * kStageBytes<kRows>,
               kRows * kSumPitch * static_cast<int>(sizeof(float))) +
      1024;
  static_assert(kBytes <= kSharedBytes);
  const auto kernel = FewRowsKernel<kRows, kParts>;
  // Of the current device's kernel.
  Check(cudaFuncSetAttribute(
            kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "asking for shared memory");
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = kParts;
  attributes[1].val.clusterDim.y = 1;
  attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim =
      dim3(work.outputs / kOutputs * kParts, (work.rows + kRows - 1) / kRows);
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = kBytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = 2;
  const Arguments arguments = {
      .bias = static_cast<const __nv_bfloat16*>(work.bias),
      .out = static_cast<__nv_bfloat16*>(work.out),
      .rows = static_cast<int>(work.rows),
      .outputs = static_cast<int>(work.outputs),
      .lines = static_cast<int>(work.inputs / kLine / kParts),
      .gelu = work.gelu};
  Check(
      cudaLaunchKernelEx(
          &config, kernel,
          MapOf(work.x, work.readable_rows, work.inputs, kRows),
          MapOf(work.weights, work.outputs, work.inputs, kOutputs), arguments),
      "product of " + std::to_string(work.rows) + " rows, " +
          std::to_string(work.inputs) + " inputs and " +
          std::to_string(work.outputs) + " outputs");
}

template <int kRows>
void LaunchWith(const FewRowsProduct& work, Stream stream) {
  switch (Parts(work.inputs, work.outputs)) {
    case 1:
      return LaunchParts<kRows, 1>(work, stream);
    case 2:
      return LaunchParts<kRows, 2>(work, stream);
    default:
      static_assert(kMostParts == 4);
      return LaunchParts<kRows, 4>(work, stream);
  }
}

}  // namespace

bool CanMultiplyFewRows(std::int64_t inputs, std::int64_t outputs) {
  return inputs % kLine == 0 && outputs % kOutputs == 0 && IsHopper();
}

void Launch(const FewRowsProduct& work, Stream stream) {
  // As few tiles as can be, of as few rows as do.
  const std::int64_t tiles = (work.rows + kMostTileRows - 1) / kMostTileRows;
  const std::int64_t rows = (work.rows + tiles - 1) / tiles;
  if (rows <= 8) {
    LaunchWith<8>(work, stream);
  } else if (rows <= 32) {
    LaunchWith<32>(work, stream);
  } else if (rows <= 64) {
    LaunchWith<64>(work, stream);
  } else if (rows <= 72) {
    LaunchWith<72>(work, stream);
  } else if (rows <= 96) {
    LaunchWith<96>(work, stream);
  } else {
    LaunchWith<kMostTileRows>(work, stream);
  }
}

}  // namespace heatkv::kernels
