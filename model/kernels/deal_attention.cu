#include <cuda_runtime.h>

#include "model/kernels/deal_attention.h"

namespace heatkv::kernels {
namespace {

constexpr int kThreads = 256;
constexpr unsigned kAll = 0xffffffffu;
constexpr unsigned kNoBlock = 0xffffffffu;

__device__ int Keys(const std::int32_t* key_begin, int sequence) {
  return key_begin[sequence + 1] - key_begin[sequence];
}

// order[r] = the sequence with the r-th most keys.
__device__ void Sort(const std::int32_t* key_begin, int sequences,
                     std::int32_t* order) {
  for (int i = threadIdx.x; i < sequences; i += kThreads) {
    const int mine = Keys(key_begin, i);
    int rank = 0;
    for (int j = 0; j < sequences; ++j) {
      const int other = Keys(key_begin, j);
      rank += other > mine || (other == mine && j < i);
    }
    order[rank] = i;
  }
}

// By one warp, of which each thread looks after kOfLane blocks, so that there
// are at most 32 kOfLane.  begin[b] = tiles of the blocks before b, also in
// `shared`.
template <int kOfLane>
__device__ void Deal(const std::int32_t* key_begin, const AttentionShape& shape,
                     const std::int32_t* order, std::int32_t* dealt,
                     std::int32_t* begin, std::int32_t* shared) {
  const int lane = threadIdx.x;
  // Block 32 k + lane: what its tiles cost, and its number; and its tiles.
  unsigned costs[kOfLane];
  int counts[kOfLane];
#pragma unroll
  for (int k = 0; k < kOfLane; ++k) {
    const int block = 32 * k + lane;
    costs[k] = block < shape.blocks ? block : kNoBlock;
    counts[k] = 0;
  }
  const int tiles = shape.tiles();
  const int sequences = shape.sequences();
  for (int first = 0; first < sequences; first += 32) {
    int cost_of_lane = 0;
    if (first + lane < sequences) {
      cost_of_lane = TileCost(Keys(key_begin, order[first + lane]));
    }
    const int here = min(32, sequences - first);
    for (int i = 0; i < here; ++i) {
      const unsigned cost =
          static_cast<unsigned>(__shfl_sync(kAll, cost_of_lane, i)) *
          kMostAttentionBlocks;
      std::int32_t* const out = dealt + (first + i) * tiles;
      for (int tile = 0; tile < tiles; ++tile) {
        unsigned least = costs[0];
#pragma unroll
        for (int k = 1; k < kOfLane; ++k) least = min(least, costs[k]);
        least = __reduce_min_sync(kAll, least);
#pragma unroll
        for (int k = 0; k < kOfLane; ++k) {
          if (costs[k] == least) {
            out[tile] = counts[k] * kMostAttentionBlocks + 32 * k + lane;
            costs[k] += cost;
            ++counts[k];
          }
        }
      }
    }
  }
  int before = 0;
#pragma unroll
  for (int k = 0; k < kOfLane; ++k) {
    int upto = counts[k];
    for (int step = 1; step < 32; step *= 2) {
      const int other = __shfl_up_sync(kAll, upto, step);
      if (lane >= step) upto += other;
    }
    const int block = 32 * k + lane;
    if (block < shape.blocks) {
      shared[block] = before + upto - counts[k];
      begin[block] = before + upto - counts[k];
    }
    before += __shfl_sync(kAll, upto, 31);
  }
  if (lane == 0) begin[shape.blocks] = before;
}

__device__ void SetToZero(void* rows, std::int64_t begin, std::int64_t end,
                          int row_units) {
  uint4* const units = static_cast<uint4*>(rows);
  for (std::int64_t i = begin * row_units + threadIdx.x; i < end * row_units;
       i += kThreads) {
    units[i] = {0, 0, 0, 0};
  }
}

// One thread block a layer.
template <int kOfLane>
__global__ void __launch_bounds__(kThreads) DealKernel(DealAttention work) {
  __shared__ std::int32_t first_of_block[kMostAttentionBlocks];
  const AttentionShape& shape = work.shape;
  const AttentionWorkLayout layout(shape);
  const std::int32_t* const key_begin =
      work.key_begin + blockIdx.x * work.layer_stride;
  std::int32_t* const list = work.work + blockIdx.x * layout.size();
  std::int32_t* const order = list + layout.order();
  std::int32_t* const dealt = list + layout.dealt();
  const int sequences = shape.sequences();

  const std::int64_t end = key_begin[sequences];
  const std::int64_t loaded =
      end + kKeyTile < work.staging_rows ? end + kKeyTile : work.staging_rows;
  SetToZero(work.keys, end, loaded, work.head_width / 8);
  SetToZero(work.values, end, loaded, work.head_width / 8);

  Sort(key_begin, sequences, order);
  __syncthreads();
  if (threadIdx.x < 32) {
    Deal<kOfLane>(key_begin, shape, order, dealt, list + layout.begin(),
                  first_of_block);
  }
  __syncthreads();
  const int tiles = shape.tiles();
  const int items = shape.items();
  for (int i = threadIdx.x; i < items; i += kThreads) {
    const int sequence = order[i / tiles];
    const int at = first_of_block[dealt[i] % kMostAttentionBlocks] +
                   dealt[i] / kMostAttentionBlocks;
    list[layout.tile() + at] = i % tiles;
    list[layout.query_begin() + at] = sequence / shape.heads * shape.tokens;
    list[layout.head() + at] = sequence % shape.heads;
    list[layout.queries() + at] = shape.tokens;
    list[layout.key_begin() + at] = key_begin[sequence];
    list[layout.keys() + at] = Keys(key_begin, sequence);
  }
}

}  // namespace

void Launch(const DealAttention& work, Stream stream) {
  if (work.shape.blocks < 1 || work.shape.blocks > kMostAttentionBlocks) {
    throw CudaError("tiles of attention: " + std::to_string(work.shape.blocks) +
                    " blocks are not between 1 and " +
                    std::to_string(kMostAttentionBlocks));
  }
  if (work.shape.blocks <= 5 * 32) {  // most GPUs
    DealKernel<5><<<work.layers, kThreads, 0, stream>>>(work);
  } else {
    DealKernel<kMostAttentionBlocks / 32>
        <<<work.layers, kThreads, 0, stream>>>(work);
  }
  CheckLaunch("tiles of attention");
}

}  // namespace heatkv::kernels
