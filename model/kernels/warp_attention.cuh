// Attention by warps, for kernels that attend to few keys: a warp has 16
// queries of one head, a block the keys and values of one (row, head), which
// pass through shared memory.
//
// What lies behind the last key is not read, and a result depends on its query
// and on its own keys alone.  For kernels alone: cross_attention.cu and
// short_attention.cu.

#ifndef MODEL_KERNELS_WARP_ATTENTION_CUH_
#define MODEL_KERNELS_WARP_ATTENTION_CUH_

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "model/kernels/early_launch.cuh"
#include "model/kernels/launch.h"
#include "model/kernels/warp_matrix.cuh"

namespace heatkv::kernels {

constexpr int kWarpAttentionThreads = 256;
constexpr int kWarpQueries = 16;
constexpr int kBlockQueries = kWarpAttentionThreads / 32 * kWarpQueries;
// Keys of a product of probabilities and values.
constexpr int kGroupKeys = 16;
// A thread moves 8 bf16, a chunk, at once.
constexpr int kChunkBytes = 16;
constexpr float kLog2E = 1.4426950408889634f;

// Heads of up to kWidth, a multiple of 32.  Narrower ones are filled up with
// zeros.
//
// Keys and values pass through two stages of shared memory in turn, one being
// filled while the other is used.  Rows are padded so that neither eight chunks
// of one column of values nor four chunks each of two neighbouring keys share
// a bank.
template <int kWidth>
struct Tiles {
  static constexpr int kChunks = kWidth / 8;
  static constexpr int kSpans = kWidth / 32;  // of four chunks
  static constexpr int kStageKeys = kWidth <= 128 ? 32 : 16;
  static constexpr int kGroups = kStageKeys / kGroupKeys;
  static constexpr int kKeyPitch =
      kChunks * kChunkBytes + (kWidth % 64 == 0 ? 64 : 0);
  static constexpr int kValuePitch = (kChunks + 1) * kChunkBytes;

  struct alignas(16) Stage {
    unsigned char keys[kStageKeys * kKeyPitch];
    unsigned char values[kStageKeys * kValuePitch];
  };
};

__device__ inline std::uint32_t Packed(float a, float b) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

// Over the four lanes that share a row of a matrix.
__device__ inline float QuadMax(float value) {
  value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 1));
  return fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 2));
}

__device__ inline float QuadSum(float value) {
  value += __shfl_xor_sync(0xffffffffu, value, 1);
  return value + __shfl_xor_sync(0xffffffffu, value, 2);
}

// The transposed matrix of the words of four neighbouring lanes: lane t gets
// word t of each.
__device__ inline void TransposeQuad(std::uint32_t (&words)[4]) {
#pragma unroll
  for (int bit = 1; bit < 4; bit *= 2) {
    const bool is_upper = (threadIdx.x & bit) != 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if ((i & bit) != 0) continue;
      const std::uint32_t sent = is_upper ? words[i] : words[i | bit];
      const std::uint32_t got = __shfl_xor_sync(0xffffffffu, sent, bit);
      words[i] = is_upper ? got : words[i];
      words[i | bit] = is_upper ? words[i | bit] : got;
    }
  }
}

// Keys and values of one head of one row, and where they lie.
struct HeadKeys {
  const unsigned char* keys = nullptr;
  const unsigned char* values = nullptr;
  std::int64_t pitch = 0;  // bytes from key to key
  int count = 0;
  int chunks = 0;  // of a key
};

// Begins to fill a stage with the keys from `first` on, up to a whole group.
template <int kWidth>
__device__ void Fetch(const HeadKeys& source, int first,
                      typename Tiles<kWidth>::Stage& stage) {
  using T = Tiles<kWidth>;
  const int groups = (source.count - first + kGroupKeys - 1) / kGroupKeys;
  const int keys = min(T::kGroups, groups) * kGroupKeys;
  for (int i = static_cast<int>(threadIdx.x); i < keys * T::kChunks;
       i += kWarpAttentionThreads) {
    const int key = i / T::kChunks;
    const int chunk = i % T::kChunks;
    const bool is_there = first + key < source.count && chunk < source.chunks;
    const std::int64_t from =
        is_there ? (first + key) * source.pitch + chunk * kChunkBytes : 0;
    CopyOrClear(stage.keys + key * T::kKeyPitch + chunk * kChunkBytes,
                source.keys + from, is_there);
    CopyOrClear(stage.values + key * T::kValuePitch + chunk * kChunkBytes,
                source.values + from, is_there);
  }
}

// What a warp knows of its 16 queries: a lane of rows g and g + 8 (warp_matrix
// .cuh), whose four lanes have the same maxima and different parts of the sums.
template <int kWidth>
struct Warp {
  using T = Tiles<kWidth>;

  // Chunk 4 * span + t of both rows.
  uint4 queries[T::kSpans][2];
  float out[T::kChunks][4];
  float most[2];
  float sum[2];

  __device__ void Clear() {
    most[0] = most[1] = -INFINITY;
    sum[0] = sum[1] = 0;
#pragma unroll
    for (int i = 0; i < T::kChunks; ++i) {
      out[i][0] = out[i][1] = out[i][2] = out[i][3] = 0;
    }
  }

  // Attends to the first `keys` of a stage, or to all if it has fewer.
  __device__ void Attend(const typename T::Stage& stage, int keys,
                         float scale) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    float scores[T::kGroups][2][4];
#pragma unroll
    for (int group = 0; group < T::kGroups; ++group) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float(&score)[4] = scores[group][half];
        score[0] = score[1] = score[2] = score[3] = 0;
        const int first = group * kGroupKeys + half * 8;
        if (group * kGroupKeys < keys) Score(stage, first, score);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (first + lane % 4 * 2 + i % 2 >= keys) score[i] = -INFINITY;
        }
      }
    }
#pragma unroll
    for (int row = 0; row < 2; ++row) Weigh(scores, row, scale);
#pragma unroll
    for (int group = 0; group < T::kGroups; ++group) {
      if (group * kGroupKeys >= keys) continue;
      const std::uint32_t weights[4] = {
          Packed(scores[group][0][0], scores[group][0][1]),
          Packed(scores[group][0][2], scores[group][0][3]),
          Packed(scores[group][1][0], scores[group][1][1]),
          Packed(scores[group][1][2], scores[group][1][3])};
      const int key = group * kGroupKeys + lane % 16;
      const unsigned char* const values =
          stage.values + key * T::kValuePitch + lane / 16 * kChunkBytes;
#pragma unroll
      for (int chunk = 0; chunk < T::kChunks; chunk += 2) {
        std::uint32_t columns[4];
        LoadTransposed(columns, values + chunk * kChunkBytes);
        MultiplyAdd(out[chunk], weights, columns[0], columns[1]);
        MultiplyAdd(out[chunk + 1], weights, columns[2], columns[3]);
      }
    }
  }

  // Of eight keys.  The order of a head's values does not matter to their
  // product as long as it is the same for both: a lane takes eight that lie
  // together, where the instruction thinks of four pairs.
  __device__ void Score(const typename T::Stage& stage, int first,
                        float (&score)[4]) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const uint4* const key = reinterpret_cast<const uint4*>(
        stage.keys + (first + lane / 4) * T::kKeyPitch +
        lane % 4 * kChunkBytes);
#pragma unroll
    for (int span = 0; span < T::kSpans; ++span) {
      const uint4 k = key[4 * span];
      const uint4& a = queries[span][0];
      const uint4& b = queries[span][1];
      const std::uint32_t low[4] = {a.x, b.x, a.y, b.y};
      MultiplyAdd(score, low, k.x, k.y);
      const std::uint32_t high[4] = {a.z, b.z, a.w, b.w};
      MultiplyAdd(score, high, k.z, k.w);
    }
  }

  // Makes the scores of a row its weights relative to the largest score so far.
  __device__ void Weigh(float (&scores)[T::kGroups][2][4], int row,
                        float scale) {
    float now = most[row];
#pragma unroll
    for (int i = 0; i < T::kGroups * 2; ++i) {
      const float(&score)[4] = scores[i / 2][i % 2];
      now = fmaxf(now, fmaxf(score[2 * row], score[2 * row + 1]));
    }
    now = QuadMax(now);
    const float shift = now == -INFINITY ? 0.0f : now * scale;
    const float shrink = exp2f(most[row] * scale - shift);
    most[row] = now;
    sum[row] *= shrink;
#pragma unroll
    for (int i = 0; i < T::kChunks; ++i) {
      out[i][2 * row] *= shrink;
      out[i][2 * row + 1] *= shrink;
    }
#pragma unroll
    for (int i = 0; i < T::kGroups * 4; ++i) {
      float& score = scores[i / 4][i / 2 % 2][2 * row + i % 2];
      score = exp2f(score * scale - shift);
      sum[row] += score;
    }
  }
};

// A block has kBlockQueries queries of a (row, head), whose keys and values
// Keys::Of(work, row, head) tells.  Keys::kAreOlder: they and the answer were
// there before the kernel in front of this one started, so they are fetched
// while it runs.
template <int kWidth, typename Keys, typename Work>
__global__ void __launch_bounds__(kWarpAttentionThreads, kWidth <= 128 ? 2 : 1)
    WarpAttentionKernel(Work work) {
  using T = Tiles<kWidth>;
  __shared__ typename T::Stage stages[2];
  LetSuccessorCome();
  const int head = static_cast<int>(blockIdx.x);
  const int row = static_cast<int>(blockIdx.z);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const HeadKeys source = Keys::Of(work, row, head);
  if (!Keys::kAreOlder) WaitForPredecessor();
  if (source.count > 0) Fetch<kWidth>(source, 0, stages[0]);
  EndCopyGroup();
  if (source.count > T::kStageKeys) {
    Fetch<kWidth>(source, T::kStageKeys, stages[1]);
  }
  EndCopyGroup();
  if (Keys::kAreOlder) WaitForPredecessor();

  const int first = static_cast<int>(blockIdx.y) * kBlockQueries +
                    static_cast<int>(threadIdx.x) / 32 * kWarpQueries;
  // Chunks of a token's heads, and where the lane's first query has chunk t.
  const std::int64_t pitch = std::int64_t{work.heads} * source.chunks;
  const std::int64_t place =
      (std::int64_t{row} * work.tokens + first + lane / 4) * pitch +
      head * source.chunks + lane % 4;
  // Of the lane's queries, and of its chunk of a span.
  const auto is_there = [&](int i, int span) {
    return first + 8 * i + lane / 4 < work.tokens &&
           4 * span + lane % 4 < source.chunks;
  };
  Warp<kWidth> warp;
  warp.Clear();
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint4* const from =
        static_cast<const uint4*>(work.queries) + place + 8 * i * pitch;
#pragma unroll
    for (int span = 0; span < T::kSpans; ++span) {
      warp.queries[span][i] = {0, 0, 0, 0};
      if (is_there(i, span)) warp.queries[span][i] = from[4 * span];
    }
  }

  int turn = 0;
  for (int done = 0; done < source.count; done += T::kStageKeys) {
    WaitForAllButOneCopyGroup();
    __syncthreads();
    if (first < work.tokens) {
      warp.Attend(stages[turn], source.count - done, work.scale * kLog2E);
    }
    const int next = done + 2 * T::kStageKeys;
    if (next < source.count) {
      __syncthreads();
      Fetch<kWidth>(source, next, stages[turn]);
    }
    EndCopyGroup();
    turn = 1 - turn;
  }
  if (first >= work.tokens) return;

#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float sum = QuadSum(warp.sum[i]);
    const float factor = source.count > 0 ? 1.0f / sum : 0.0f;
    uint4* const to = static_cast<uint4*>(work.out) + place + 8 * i * pitch;
#pragma unroll
    for (int span = 0; span < T::kSpans; ++span) {
      std::uint32_t words[4];
#pragma unroll
      for (int chunk = 0; chunk < 4; ++chunk) {
        const float* const pair = warp.out[4 * span + chunk] + 2 * i;
        words[chunk] = Packed(pair[0] * factor, pair[1] * factor);
      }
      TransposeQuad(words);
      if (is_there(i, span)) {
        to[4 * span] = {words[0], words[1], words[2], words[3]};
      }
    }
  }
}

// `work` has rows, tokens, heads and head_width, queries and out bf16
// [rows * tokens, heads, head_width], and `scale`, by which scores are
// multiplied.  Throws CudaError, naming `what`, for other head widths than
// multiples of 8 up to 256.
template <typename Keys, typename Work>
void LaunchWarpAttention(const char* what, const Work& work, Stream stream) {
  if (work.head_width % 8 != 0 || work.head_width > 256) {
    throw CudaError(std::string(what) + ": head width " +
                    std::to_string(work.head_width) +
                    " is not a multiple of 8 up to 256");
  }
  const dim3 blocks(
      work.heads, (work.tokens + kBlockQueries - 1) / kBlockQueries, work.rows);
  const auto kernel =
      work.head_width <= 32    ? WarpAttentionKernel<32, Keys, Work>
      : work.head_width <= 64  ? WarpAttentionKernel<64, Keys, Work>
      : work.head_width <= 128 ? WarpAttentionKernel<128, Keys, Work>
                               : WarpAttentionKernel<256, Keys, Work>;
  LaunchEarly(what, kernel, blocks, kWarpAttentionThreads, stream, work);
}

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_WARP_ATTENTION_CUH_
