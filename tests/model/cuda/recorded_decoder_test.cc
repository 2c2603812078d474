// Decodings with recorded coarse levels against the same without, and what
// recordings of several sizes take.

#include "model/cuda/recorded_decoder.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "model/cuda/graph_recording.h"
#include "model/cuda/kernel_calls.h"
#include "model/cuda/memory_report.h"
#include "model/memory_plan.h"
#include "tests/model/cuda/kernel_inputs.h"

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

// Somebody else's recording, which leaves numbers that are none wherever the
// recorder's memory is free.
class Scribble {
 public:
  explicit Scribble(const Recorder& recorder) {
    Numbers();  // whose kernel is there from now on
    const c10::cuda::CUDAStreamGuard guard(recorder.stream());
    Record(graph_, recorder.pool(), [] {
      std::vector<at::Tensor> taken;
      for (int i = 0; i < 64; ++i) taken.push_back(Numbers());
      return 0;
    });
  }
  void Replay() { graph_.replay(); }

  static at::Tensor Numbers() {
    return at::full({1 << 18}, std::numeric_limits<float>::quiet_NaN(),
                    Floats());
  }

 private:
  at::cuda::CUDAGraph graph_;
};

TEST_F(RecordedDecoderTest, ItsPicturesAreThoseOfTheDecoderByteByByte) {
  VaeSpec spec;
  spec.base_channels = 32;
  spec.channel_multipliers = {1, 2, 2};
  spec.residual_blocks = 2;
  const auto vae = Load(spec);
  for (const int tile : {0, 30}) {
    Recorder recorder;
    RecordedDecoder recorded(vae.get(), &recorder, tile, /*most_pixels=*/600);
    Scribble scribble(recorder);
    // Two, two and three of three levels, and none.
    const std::vector<std::pair<int, int>> sizes = {
        {12, 12}, {5, 17}, {3, 4}, {30, 25}};
    for (int round = 0; round < 4; ++round) {
      for (const auto& [height, width] : sizes) {
        const at::Tensor codes = Codes(height, width);
        const at::Tensor truth = vae->Decode(codes, tile);
        const at::Tensor kept = codes.clone();
        EXPECT_TRUE(at::equal(recorded.Decode(codes), truth))
            << height << " x " << width << ", round " << round;
        EXPECT_TRUE(at::equal(codes, kept));
        scribble.Replay();
        for (int i = 0; i < 16; ++i) Scribble::Numbers();
      }
      EXPECT_EQ(recorded.recordings(), 3);
    }
  }
}

// With the sizes of three pictures of a megapixel and of three previews.
TEST_F(RecordedDecoderTest, RecordingsOfAllSizesShareTheirMemory) {
  VaeSpec spec;
  spec.base_channels = 128;
  spec.channel_multipliers = {1, 2, 4, 4, 4};
  const auto vae = Load(spec);
  constexpr int kTile = 512;
  Recorder recorder;
  RecordedDecoder recorded(vae.get(), &recorder, kTile,
                           kRecordedDecodingPixels);
  const std::vector<std::pair<int, int>> sizes = {
      {64, 64}, {112, 37}, {37, 112}, {32, 32}, {16, 16}, {8, 8}};
  for (const auto& [height, width] : sizes) {
    vae->Decode(Codes(height, width), kTile);  // what libraries keep is theirs
  }
  ReleaseUnusedMemory();
  const MemoryReport before = ReadMemory(0);
  c10::cuda::device_synchronize();
  const auto begin = std::chrono::steady_clock::now();
  for (const auto& [height, width] : sizes) {
    recorded.Decode(Codes(height, width));
  }
  c10::cuda::device_synchronize();
  const double first = Milliseconds(begin);
  ReleaseUnusedMemory();
  const MemoryReport after = ReadMemory(0);
  EXPECT_EQ(recorded.recordings(), sizes.size());
  std::printf("%zu sizes: %.0f ms, %.1f MB in use, %.1f MB reserved\n",
              sizes.size(), first, (after.allocated - before.allocated) / 1e6,
              (after.reserved - before.reserved) / 1e6);
  // Places for codes, in sizes of powers of two.
  EXPECT_LE(after.allocated - before.allocated, 4 * 4 * kBits * 112 * 37);
  // Three images of the largest level that is recorded, and a convolution's
  // work space.
  EXPECT_LE(after.reserved - before.reserved, 64 << 21);

  const at::Tensor codes = Codes(64, 64);
  for (const bool is_recorded : {false, true}) {
    c10::cuda::device_synchronize();
    const auto start = std::chrono::steady_clock::now();
    constexpr int kTimes = 10;
    for (int i = 0; i < kTimes; ++i) {
      is_recorded ? recorded.Decode(codes) : vae->Decode(codes, kTile);
    }
    c10::cuda::device_synchronize();
    std::printf("%s: %.2f ms\n", is_recorded ? "recorded" : "eager",
                Milliseconds(start) / kTimes);
  }
  // A picture with recorded levels takes no more beside them.
  ResetMemoryPeaks(0);
  recorded.Decode(codes);
  EXPECT_LE(ReadMemory(0).peak_allocated - after.allocated,
            DecodingBytes(spec, {64, 64}, kTile, true));
}

}  // namespace
}  // namespace heatkv::model
