#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <string>

#include "model/kernels/group_norm_swish.h"

namespace heatkv::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kVector = 8;  // values of 16 bytes
constexpr int kMaxChunks = 1024;

__device__ void Unpack(uint4 raw, float* out) {
  const __nv_bfloat162* const pairs =
      reinterpret_cast<const __nv_bfloat162*>(&raw);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = __bfloat1622float2(pairs[i]);
    out[2 * i] = pair.x;
    out[2 * i + 1] = pair.y;
  }
}

// One chunk of pixels a block.
__global__ void __launch_bounds__(kThreads)
    PartialSumsKernel(ChannelSums work) {
  extern __shared__ float shared[];             // [lanes][2][channels]
  const int vectors = work.channels / kVector;  // at most kThreads
  const int lanes = kThreads / vectors;
  const int lane = threadIdx.x / vectors;
  const int vector = threadIdx.x % vectors;
  const std::int64_t first = work.pixels * blockIdx.x / work.chunks;
  const std::int64_t last = work.pixels * (blockIdx.x + 1) / work.chunks;
  float sum[kVector] = {};
  float squares[kVector] = {};
  float bias[kVector] = {};
  if (work.input_bias != nullptr && lane < lanes) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      bias[i] = work.input_bias[vector * kVector + i];
    }
  }
  if (lane < lanes) {
    const uint4* const x = static_cast<const uint4*>(work.x);
    for (std::int64_t pixel = first + lane; pixel < last; pixel += lanes) {
      float value[kVector];
      Unpack(x[pixel * vectors + vector], value);
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        value[i] += bias[i];
        sum[i] += value[i];
        squares[i] += value[i] * value[i];
      }
    }
    float* const mine = shared + lane * 2 * work.channels + vector * kVector;
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      mine[i] = sum[i];
      mine[work.channels + i] = squares[i];
    }
  }
  __syncthreads();
  float* const out =
      work.sums + static_cast<std::int64_t>(blockIdx.x) * 2 * work.channels;
  for (int i = threadIdx.x; i < 2 * work.channels; i += kThreads) {
    float total = 0;
    for (int l = 0; l < lanes; ++l) total += shared[l * 2 * work.channels + i];
    out[i] = total;
  }
}

// One group a block.
__global__ void __launch_bounds__(kThreads)
    StatisticsKernel(GroupStatistics work) {
  __shared__ double sums[kThreads];
  __shared__ double squares[kThreads];
  const int group = blockIdx.x;
  const int size = work.channels / work.groups;
  double sum = 0;
  double square = 0;
  for (int i = threadIdx.x; i < work.chunks * size; i += kThreads) {
    const float* const chunk =
        work.sums + static_cast<std::int64_t>(i / size) * 2 * work.channels +
        group * size + i % size;
    sum += chunk[0];
    square += chunk[work.channels];
  }
  sums[threadIdx.x] = sum;
  squares[threadIdx.x] = square;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) {
      sums[threadIdx.x] += sums[threadIdx.x + half];
      squares[threadIdx.x] += squares[threadIdx.x + half];
    }
    __syncthreads();
  }
  if (threadIdx.x != 0) return;
  const double count = static_cast<double>(work.pixels) * size;
  const double mean = sums[0] / count;
  const double variance = fmax(squares[0] / count - mean * mean, 0.0);
  float* const out = work.statistics + 2 * group;
  out[0] = static_cast<float>(mean);
  out[1] = static_cast<float>(1.0 / sqrt(variance + work.epsilon));
}

// In both of the following a thread has always the same channels: blocks have a
// multiple of `vectors` threads.
__global__ void __launch_bounds__(kThreads)
    NormaliseKernel(NormaliseSwish work) {
  const int vectors = work.channels / kVector;
  const int size = work.channels / work.groups;
  const int channel = threadIdx.x % vectors * kVector;
  float scale[kVector];
  float shift[kVector];
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    const float2 group = *reinterpret_cast<const float2*>(
        work.statistics + 2 * ((channel + i) / size));
    const float before =
        work.input_bias == nullptr ? 0.0f : work.input_bias[channel + i];
    scale[i] = group.y * work.weight[channel + i];
    shift[i] = (before - group.x) * scale[i] + work.bias[channel + i];
  }
  const std::int64_t total = work.pixels * vectors;
  for (std::int64_t index =
           static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       index < total;
       index += static_cast<std::int64_t>(gridDim.x) * blockDim.x) {
    float value[kVector];
    Unpack(static_cast<const uint4*>(work.x)[index], value);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const float normed = value[i] * scale[i] + shift[i];
      value[i] = __fdividef(normed, 1.0f + __expf(-normed));
    }
    uint4 raw;
    __nv_bfloat162* const pairs = reinterpret_cast<__nv_bfloat162*>(&raw);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      pairs[i] = __floats2bfloat162_rn(value[2 * i], value[2 * i + 1]);
    }
    static_cast<uint4*>(work.out)[index] = raw;
  }
}

__global__ void __launch_bounds__(kThreads) BiasAddKernel(BiasAdd work) {
  const int vectors = work.channels / kVector;
  const int channel = threadIdx.x % vectors * kVector;
  float bias[kVector];
#pragma unroll
  for (int i = 0; i < kVector; ++i) bias[i] = work.bias[channel + i];
  const std::int64_t total = work.pixels * vectors;
  for (std::int64_t index =
           static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       index < total;
       index += static_cast<std::int64_t>(gridDim.x) * blockDim.x) {
    uint4* const place = static_cast<uint4*>(work.x) + index;
    float value[kVector];
    Unpack(*place, value);
    float added[kVector] = {};
    if (work.added != nullptr) {
      Unpack(static_cast<const uint4*>(work.added)[index], added);
    }
    uint4 raw;
    __nv_bfloat162* const pairs = reinterpret_cast<__nv_bfloat162*>(&raw);
#pragma unroll
    for (int i = 0; i < kVector; i += 2) {
      pairs[i / 2] =
          __floats2bfloat162_rn(value[i] + bias[i] + added[i],
                                value[i + 1] + bias[i + 1] + added[i + 1]);
    }
    *place = raw;
  }
}

int Threads(int vectors) { return kThreads / vectors * vectors; }

int Blocks(std::int64_t total, int threads) {
  return static_cast<int>(
      std::clamp<std::int64_t>((total + threads - 1) / threads, 1, 4096));
}

// For images of this kind, "group norm" or so being `what`.
void CheckChannels(int channels, const char* what) {
  if (channels % kVector == 0 && channels / kVector <= kThreads) return;
  throw CudaError(std::string(what) + ": " + std::to_string(channels) +
                  " channels are no multiple of 8 up to 2048");
}

}  // namespace

void Launch(const BiasAdd& work, Stream stream) {
  CheckChannels(work.channels, "bias");
  const int vectors = work.channels / kVector;
  const int threads = Threads(vectors);
  BiasAddKernel<<<Blocks(work.pixels * vectors, threads), threads, 0, stream>>>(
      work);
  CheckLaunch("adding a bias");
}

int SumChunks(std::int64_t pixels) {
  return static_cast<int>(std::clamp<std::int64_t>(pixels / 64, 1, kMaxChunks));
}

void Launch(const ChannelSums& work, Stream stream) {
  CheckChannels(work.channels, "group norm");
  const int lanes = kThreads / (work.channels / kVector);
  const std::size_t shared = sizeof(float) * lanes * 2 * work.channels;
  PartialSumsKernel<<<work.chunks, kThreads, shared, stream>>>(work);
  CheckLaunch("sums of a group norm");
}

void Launch(const GroupStatistics& work, Stream stream) {
  StatisticsKernel<<<work.groups, kThreads, 0, stream>>>(work);
  CheckLaunch("statistics of a group norm");
}

void Launch(const NormaliseSwish& work, Stream stream) {
  CheckChannels(work.channels, "group norm");
  const int vectors = work.channels / kVector;
  const int threads = Threads(vectors);
  NormaliseKernel<<<Blocks(work.pixels * vectors, threads), threads, 0,
                    stream>>>(work);
  CheckLaunch("group norm");
}

std::int64_t WorkspaceFloats(const GroupNormSwish& work) {
  return static_cast<std::int64_t>(SumChunks(work.pixels)) * 2 * work.channels +
         2 * work.groups;
}

void Launch(const GroupNormSwish& work, Stream stream) {
  const int chunks = SumChunks(work.pixels);
  float* const statistics =
      work.partial_sums + static_cast<std::int64_t>(chunks) * 2 * work.channels;
  Launch(ChannelSums{.x = work.x,
                     .input_bias = work.input_bias,
                     .sums = work.partial_sums,
                     .pixels = work.pixels,
                     .channels = work.channels,
                     .chunks = chunks},
         stream);
  Launch(GroupStatistics{.sums = work.partial_sums,
                         .statistics = statistics,
                         .pixels = work.pixels,
                         .chunks = chunks,
                         .channels = work.channels,
                         .groups = work.groups,
                         .epsilon = work.epsilon},
         stream);
  Launch(NormaliseSwish{.x = work.x,
                        .input_bias = work.input_bias,
                        .weight = work.weight,
                        .bias = work.bias,
                        .statistics = statistics,
                        .out = work.out,
                        .pixels = work.pixels,
                        .channels = work.channels,
                        .groups = work.groups},
         stream);
}

}  // namespace heatkv::kernels
