// Decodings with recorded coarse levels against the same without, and what
// recordings of several sizes take.

#include "model/cuda/recorded_decoder.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDAFunctions.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "model/cuda/kernel_calls.h"
#include "model/cuda/memory_report.h"
#include "model/memory_plan.h"
#include "model/vae/decoding_bytes.h"
#include "tests/model/cuda/kernel_inputs.h"
#include "tests/model/cuda/scribble.h"
#include "tests/model/infinity_2b.h"

namespace heatkv::model {
namespace {

constexpr int kBits = 32;

at::TensorOptions Floats() {
  return at::TensorOptions(at::kFloat).device(at::kCUDA, 0);
}

std::unique_ptr<VaeDecoder> Load(const VaeSpec& spec) {
  auto vae =
      VaeDecoder::Load(spec, kBits,
                       WeightStore::Random(1, /*blocks=*/0,
                                           {.device = at::Device(at::kCUDA, 0),
                                            .dtype = at::kFloat,
                                            .matrix_dtype = at::kBFloat16}));
  HEATKV_CHECK_OK(vae.status());
  return *std::move(vae);
}

class RecordedDecoderTest : public testing::Test {
 protected:
  void SetUp() override {
    if (CudaDevices() == 0) GTEST_SKIP() << "no CUDA device";
  }

  static at::Tensor Codes(int height, int width) {
    return at::randn({1, kBits, height, width}, Floats());
  }

  const c10::InferenceMode inference_mode_;
};

TEST_F(RecordedDecoderTest, ItsPicturesAreThoseOfTheDecoderByteByByte) {
  VaeSpec spec;
  spec.base_channels = 32;
  spec.channel_multipliers = {1, 2, 2};
  spec.residual_blocks = 2;
  const auto vae = Load(spec);
  for (const int tile : {0, 30}) {
    WorkArena arena;
    RecordedDecoder recorded(vae.get(), &arena, tile, /*most_pixels=*/600);
    // Two, two and three of three levels, and none.
    const std::vector<std::pair<int, int>> sizes = {
        {12, 12}, {5, 17}, {3, 4}, {30, 25}};
    for (int round = 0; round < 4; ++round) {
      for (const auto& [height, width] : sizes) {
        const at::Tensor codes = Codes(height, width);
        const at::Tensor truth = vae->Decode(codes, tile);
        const at::Tensor kept = codes.clone();
        {
          const WorkArena::Use use(arena);
          const at::Tensor picture = recorded.Decode(codes, use);
          EXPECT_TRUE(at::equal(picture, truth))
              << height << " x " << width << ", round " << round;
        }
        EXPECT_TRUE(at::equal(codes, kept));
        Scribble(arena);
      }
      EXPECT_EQ(recorded.recordings(), 3);
    }
  }
}

// With the sizes of three pictures of a megapixel and of three previews.
TEST_F(RecordedDecoderTest, DecodingsOfAllSizesHaveTheArenaThatIsPlanned) {
  const VaeSpec spec = Infinity2b().vae;
  const auto vae = Load(spec);
  constexpr int kTile = 512;
  const std::vector<std::pair<int, int>> sizes = {
      {64, 64}, {112, 37}, {37, 112}, {32, 32}, {16, 16}, {8, 8}};
  std::int64_t planned = 0;
  for (const auto& [height, width] : sizes) {
    vae->Decode(Codes(height, width), kTile);  // what libraries keep is theirs
    planned =
        std::max(planned, DecodingBytes(spec, {height, width}, kTile, true));
  }
  WorkArena arena;
  RecordedDecoder recorded(vae.get(), &arena, kTile, kRecordedDecodingPixels);
  { const WorkArena::Use use(arena); }  // libraries have what they keep
  ReleaseUnusedMemory();
  const MemoryReport before = ReadMemory(0);
  arena.Reserve(planned + (32 << 20));
  const MemoryReport reserved = ReadMemory(0);
  const auto decode = [&](int height, int width) {
    const at::Tensor codes = Codes(height, width);
    const WorkArena::Use use(arena);
    recorded.Decode(codes, use);
  };
  c10::cuda::device_synchronize();
  const auto begin = std::chrono::steady_clock::now();
  for (const auto& [height, width] : sizes) decode(height, width);
  c10::cuda::device_synchronize();
  const double first = Milliseconds(begin);
  ReleaseUnusedMemory();
  const MemoryReport after = ReadMemory(0);
  EXPECT_EQ(recorded.recordings(), sizes.size());
  std::printf(
      "%zu sizes: %.0f ms, %.1f MB in use, %.1f MB in the arena and %.1f MB "
      "more reserved\n",
      sizes.size(), first, (after.allocated - before.allocated) / 1e6,
      (reserved.reserved - before.reserved) / 1e6,
      (after.reserved - reserved.reserved) / 1e6);
  // Torch keeps the state of its random numbers for recordings.
  EXPECT_LE(after.allocated, before.allocated + 4096);
  // Small tensors have pages of their own.
  EXPECT_LE(after.reserved - reserved.reserved, 8 << 20);

  for (const bool is_recorded : {false, true}) {
    const at::Tensor codes = Codes(64, 64);
    c10::cuda::device_synchronize();
    const auto start = std::chrono::steady_clock::now();
    constexpr int kTimes = 10;
    for (int i = 0; i < kTimes; ++i) {
      is_recorded ? decode(64, 64) : void(vae->Decode(codes, kTile));
    }
    c10::cuda::device_synchronize();
    std::printf("%s: %.2f ms\n", is_recorded ? "recorded" : "eager",
                Milliseconds(start) / kTimes);
  }
}

}  // namespace
}  // namespace heatkv::model
