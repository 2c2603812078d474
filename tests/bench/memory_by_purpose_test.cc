#include "bench/memory_by_purpose.h"

#include <gtest/gtest.h>

namespace heatkv::server {
namespace {

constexpr std::int64_t kGiga = 1'000'000'000;

// 4 GB of weights in 4.25 GB, a pool of 2 GB of which the images hold 0.5, an
// arena of 1 GB in which 0.125 GB live on, and 0.25 GB of texts and tables.
MeasuredMemory Example() {
  MeasuredMemory memory;
  memory.loaded.allocated = 4 * kGiga;
  memory.loaded.reserved = 12 * kGiga;
  memory.pool = 2 * kGiga;
  memory.images = kGiga / 2;
  memory.ready.allocated = 51 * kGiga / 8;
  memory.ready.allocated_in_arenas = kGiga / 8;
  memory.ready.in_arenas = kGiga;
  memory.ready.reserved = 8 * kGiga;
  memory.now = memory.ready;
  memory.between_steps = 53 * kGiga / 8;
  memory.now.peak_reserved = 8 * kGiga;
  memory.device_used = 9 * kGiga;
  return memory;
}

TEST(MemoryByPurpose, ImagesTakeTheirPartOfThePoolAndTheWholeArena) {
  const nlohmann::json report = ReportMemory(Example());
  EXPECT_EQ(BeyondWeightsAndPool(Example()), 3 * kGiga / 2);
  EXPECT_DOUBLE_EQ(report["beyond_weights_and_pool_gb"], 1.5);
  EXPECT_DOUBLE_EQ(report["memory_beyond_weights_gb"], 2);
  EXPECT_DOUBLE_EQ(report["reserved_beyond_weights_gb"], 2.5);
  EXPECT_DOUBLE_EQ(report["reserved_gb"], 8);
  EXPECT_DOUBLE_EQ(report["reserved_growth_gb"], 0);
}

TEST(MemoryByPurpose, NothingIsCountedTwice) {
  const nlohmann::json memory = ReportMemory(Example())["memory_gb"];
  EXPECT_DOUBLE_EQ(memory["weights"], 4);
  EXPECT_DOUBLE_EQ(memory["pool"], 0.5);
  EXPECT_DOUBLE_EQ(memory["pool_allocated"], 2);
  EXPECT_DOUBLE_EQ(memory["work_arena"], 1);
  EXPECT_DOUBLE_EQ(memory["kept_when_ready"], 0.25);
  EXPECT_DOUBLE_EQ(memory["allocator"], 0.75);
  EXPECT_DOUBLE_EQ(memory["libraries"], 1);
  EXPECT_DOUBLE_EQ(memory["device_used"], 9);
}

TEST(MemoryByPurpose, WhatWasGivenBackSinceThePeakStillAddsUp) {
  MeasuredMemory memory = Example();
  memory.now.peak_reserved += kGiga / 2;
  const nlohmann::json report = ReportMemory(memory);
  EXPECT_DOUBLE_EQ(report["reserved_growth_gb"], 0.5);
  EXPECT_DOUBLE_EQ(report["reserved_beyond_weights_gb"], 3);
  double sum = 0;
  for (const char* purpose : {"weights", "pool_allocated", "work_arena",
                              "kept_when_ready", "allocator", "libraries"}) {
    sum += report["memory_gb"][purpose].get<double>();
  }
  EXPECT_DOUBLE_EQ(report["memory_gb"]["device_used"], sum);
  EXPECT_DOUBLE_EQ(sum, 9.5);
}

}  // namespace
}  // namespace heatkv::server
