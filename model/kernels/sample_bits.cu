#include <cuda_runtime.h>

#include "model/kernels/early_launch.cuh"
#include "model/kernels/sample_bits.h"

namespace heatkv::kernels {
namespace {

constexpr int kThreads = 256;

// As model/infinity/philox.h.
__device__ uint4 Philox4x32(uint4 counter, std::uint32_t key0,
                            std::uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint32_t high0 = __umulhi(0xD2511F53u, counter.x);
    const std::uint32_t low0 = 0xD2511F53u * counter.x;
    const std::uint32_t high1 = __umulhi(0xCD9E8D57u, counter.z);
    const std::uint32_t low1 = 0xCD9E8D57u * counter.z;
    counter = {high1 ^ counter.y ^ key0, low1, high0 ^ counter.w ^ key1, low0};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// One guided logit.  Rounded after every operation, as separate operators do.
__device__ float Guided(const float* conditional, const float* unconditional,
                        const SampleKnobs& knobs, int* not_finite) {
  const float c = *conditional;
  *not_finite += !isfinite(c);
  const float scaled = __fmul_rn(c, knobs.inverse_tau);
  if (knobs.guidance == 1.0f) return scaled;
  const float u = *unconditional;
  *not_finite += !isfinite(u);
  return __fadd_rn(__fmul_rn(scaled, knobs.guidance),
                   __fmul_rn(__fmul_rn(u, knobs.inverse_tau), knobs.rest));
}

// One thread for four neighbouring bits, which share a counter.
__global__ void __launch_bounds__(kThreads) SampleBitsKernel(SampleBits work) {
  LetSuccessorCome();
  WaitForPredecessor();
  const int image = blockIdx.y;
  const int quads = (work.bits + 3) / 4;
  const std::int64_t index =
      static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int token = static_cast<int>(index / quads);
  const int quad = static_cast<int>(index % quads);
  if (token >= work.tokens) return;
  const SampleKnobs knobs = work.knobs[image];
  const std::int64_t branch_size =
      static_cast<std::int64_t>(work.tokens) * 2 * work.bits;
  const float* const conditional =
      work.logits + image * work.branches * branch_size +
      static_cast<std::int64_t>(token) * 2 * work.bits;
  const uint4 words =
      Philox4x32({knobs.image, knobs.scale, static_cast<std::uint32_t>(token),
                  static_cast<std::uint32_t>(quad)},
                 knobs.key[0], knobs.key[1]);
  const std::uint32_t word[4] = {words.x, words.y, words.z, words.w};
  int not_finite = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int bit = 4 * quad + i;
    if (bit >= work.bits) break;
    const float* const logit = conditional + 2 * bit;
    const float zero = Guided(logit, logit + branch_size, knobs, &not_finite);
    const float one =
        Guided(logit + 1, logit + 1 + branch_size, knobs, &not_finite);
    const float most = fmaxf(zero, one);
    const float weight0 = expf(__fsub_rn(zero, most));
    const float weight1 = expf(__fsub_rn(one, most));
    const float sum = __fadd_rn(weight0, weight1);
    float p0 = __fdiv_rn(weight0, sum);
    float p1 = __fdiv_rn(weight1, sum);
    if (p0 <= knobs.threshold && p0 < p1) {
      p0 = 0;
    } else if (p1 <= knobs.threshold && p1 < p0) {
      p1 = 0;
    }
    const float of_one = __fdiv_rn(p1, __fadd_rn(p0, p1));
    const float uniform = static_cast<float>(word[i] >> 8) * 0x1p-24f;
    work.out[(static_cast<std::int64_t>(image) * work.tokens + token) *
                 work.bits +
             bit] = uniform < of_one;
  }
  if (not_finite > 0) atomicAdd(work.not_finite + image, not_finite);
}

}  // namespace

void Launch(const SampleBits& work, Stream stream) {
  const std::int64_t threads =
      static_cast<std::int64_t>(work.tokens) * ((work.bits + 3) / 4);
  const dim3 grid(static_cast<unsigned>((threads + kThreads - 1) / kThreads),
                  work.images);
  LaunchEarly("sampling of bits", SampleBitsKernel, grid, kThreads, stream,
              work);
}

}  // namespace heatkv::kernels
