// What lies in an arena, what does not, and in which order it is computed.

#include "model/cuda/work_arena.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDAFunctions.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "model/cuda/kernel_calls.h"
#include "model/cuda/memory_report.h"
#include "tests/model/cuda/kernel_inputs.h"

namespace heatkv::model {
namespace {

constexpr std::int64_t kMega = 1 << 20;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

class WorkArenaTest : public testing::Test {
 protected:
  void SetUp() override {
    if (CudaDevices() == 0) GTEST_SKIP() << "no CUDA device";
    arena_.emplace();
    const WorkArena::Use use(*arena_);  // libraries have what they keep
  }

  static at::TensorOptions Floats() {
    return at::TensorOptions(at::kFloat).device(at::kCUDA, 0);
  }

  const c10::InferenceMode inference_mode_;
  std::optional<WorkArena> arena_;
};

TEST_F(WorkArenaTest, WhatIsMadeInItTakesNoMoreOfTheDevice) {
  ReleaseUnusedMemory();
  const MemoryReport before = ReadMemory(0);
  arena_->Reserve(100 * kMega);
  const MemoryReport reserved = ReadMemory(0);
  EXPECT_GE(reserved.reserved - before.reserved, 100 * kMega);
  EXPECT_LT(reserved.reserved - before.reserved, 130 * kMega);
  EXPECT_EQ(reserved.allocated, before.allocated);
  // Nobody else gives it back.
  ReleaseUnusedMemory();
  EXPECT_EQ(ReadMemory(0).reserved, reserved.reserved);
  for (const std::int64_t tensors : {1, 3, 10, 24}) {
    const WorkArena::Use use(*arena_);
    const WorkArena::Use again(*arena_);
    std::vector<at::Tensor> made;
    for (std::int64_t i = 0; i < tensors; ++i) {
      made.push_back(at::empty({96 * kMega / 4 / tensors}, Floats()));
    }
    EXPECT_GT(ReadMemory(0).allocated, before.allocated + 90 * kMega);
  }
  EXPECT_EQ(ReadMemory(0).reserved, reserved.reserved);
  EXPECT_EQ(ReadMemory(0).device_allocations, reserved.device_allocations);
  // Beside it there is none.
  const at::Tensor other = at::empty({90 * kMega / 4}, Floats());
  EXPECT_GT(ReadMemory(0).reserved, reserved.reserved + 80 * kMega);
}

TEST_F(WorkArenaTest, RecordingsWorkInTheSameMemory) {
  arena_->Reserve(100 * kMega);
  at::zeros({8}, Floats()).add_(1);  // whose kernels are there from now on
  const MemoryReport reserved = ReadMemory(0);
  const auto body = [](const at::Tensor& input) {
    at::Tensor sum = at::zeros({20 * kMega / 4}, Floats());
    for (int i = 0; i < 3; ++i) sum = sum + input;
    return sum.narrow(0, 0, 4);
  };
  std::vector<at::Tensor> inputs;
  std::vector<at::Tensor> results;
  std::vector<at::cuda::CUDAGraph> graphs(5);
  for (at::cuda::CUDAGraph& graph : graphs) {
    const WorkArena::Use use(*arena_);
    const at::Tensor input = at::empty({1}, Floats());
    body(input);
    results.push_back(
        Borrowed(arena_->Record(graph, [&] { return body(input); })));
    inputs.push_back(Borrowed(input));
  }
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < graphs.size(); ++i) {
      const float value = 10.0f * round + i;
      inputs[i].fill_(value);
      graphs[i].replay();
      EXPECT_TRUE(results[i].eq(3 * value).all().item<bool>());
      const WorkArena::Use use(*arena_);
      at::full({90 * kMega / 4}, kNaN, Floats());
    }
  }
  EXPECT_LE(ReadMemory(0).reserved, reserved.reserved + 4 * kMega);
}

TEST_F(WorkArenaTest, WhatLibrariesKeepForAThreadIsNotInIt) {
  arena_->Reserve(100 * kMega);
  std::thread([&] {
    const c10::InferenceMode inference_mode;
    const WorkArena::Use use(*arena_);
    const at::Tensor x = at::ones({512, 512}, Floats().dtype(at::kBFloat16));
    EXPECT_EQ(at::mm(x, x).max().item<float>(), 512);
    EXPECT_EQ(at::addmm(x[0], x, x).max().item<float>(), 512);
  }).join();
  EXPECT_EQ(ReadMemory(0).allocated_in_arenas, 0);
}

TEST_F(WorkArenaTest, WorkComesInOrderWithTheStreamAround) {
  const at::Tensor x = at::zeros({16 * kMega}, Floats());
  for (int round = 1; round <= 50; ++round) {
    x.add_(1);
    at::Tensor made;
    {
      const WorkArena::Use use(*arena_);
      made = x + x;
      x.add_(1);
    }
    const at::Tensor kept = made + 0;
    made.reset();
    EXPECT_TRUE(kept.eq(4 * round - 2).all().item<bool>()) << round;
  }
}

TEST_F(WorkArenaTest, ARecordingThatFailsLeavesNothingBehind) {
  ReleaseUnusedMemory();
  const std::int64_t before = ReadMemory(0).reserved;
  arena_->Reserve(60 * kMega);
  {
    const WorkArena::Use use(*arena_);
    const at::Tensor x = at::zeros({4}, Floats());
    x.add_(1);
    for (int round = 0; round < 2; ++round) {
      at::cuda::CUDAGraph graph;
      EXPECT_THROW(arena_->Record(graph,
                                  [&]() -> int {
                                    x.add_(1);
                                    throw std::runtime_error("no");
                                  }),
                   std::runtime_error);
      // What breaks the capture itself.
      at::cuda::CUDAGraph broken;
      EXPECT_THROW(
          arena_->Record(broken, [&] { return x.sum().item<float>(); }),
          std::exception);
    }
    at::cuda::CUDAGraph graph;
    arena_->Record(graph, [&] { return x.add_(1); });
    graph.replay();
    EXPECT_EQ(x.sum().item<float>(), 8);
  }
  arena_.reset();
  ReleaseUnusedMemory();
  EXPECT_LE(ReadMemory(0).reserved, before);
}

TEST_F(WorkArenaTest, ItsMemoryGoesBackWithIt) {
  ReleaseUnusedMemory();
  const std::int64_t before = ReadMemory(0).reserved;
  arena_->Reserve(60 * kMega);
  arena_.reset();
  ReleaseUnusedMemory();
  EXPECT_LE(ReadMemory(0).reserved, before);
}

}  // namespace
}  // namespace heatkv::model
