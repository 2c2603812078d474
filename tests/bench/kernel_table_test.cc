#include "bench/kernel_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace heatkv::server {
namespace {

using ::testing::HasSubstr;

// Two scales of two kernels each, on two streams, and a decoding.
std::vector<DeviceEvent> Events() {
  return {{"void norm<float>(float*, int)", 0, 1000},
          {"gemm", 1000, 5000},
          {"void Sample(Work)", 6000, 7000},
          {"void norm<float>(float*, int)", 8000, 9000},
          {"gemm", 8500, 12000},  // overlaps the one before
          {"void Sample(Work)", 12000, 13000},
          {"convolution", 15000, 20000}};
}

TEST(KernelTable, AddsTheCallsOfAKernel) {
  const KernelTable table = MakeKernelTable(Events(), "Sample");
  ASSERT_EQ(table.rows.size(), 4);
  EXPECT_EQ(table.rows[0].name, "gemm");
  EXPECT_EQ(table.rows[0].calls, 2);
  EXPECT_DOUBLE_EQ(table.rows[0].microseconds, 7.5);
  EXPECT_EQ(table.rows[1].name, "convolution");
}

TEST(KernelTable, CountsTimeInWhichSomethingRanOnce) {
  const KernelTable table = MakeKernelTable(Events(), "Sample");
  EXPECT_DOUBLE_EQ(table.all.wall_microseconds, 20);
  EXPECT_DOUBLE_EQ(table.all.busy_microseconds, 5 + 1 + 4 + 1 + 5);
  EXPECT_DOUBLE_EQ(table.all.idle_microseconds(), 4);
}

TEST(KernelTable, DividesAtTheMarkersWithNothingLost) {
  const KernelTable table = MakeKernelTable(Events(), "Sample");
  ASSERT_EQ(table.parts.size(), 3);
  EXPECT_DOUBLE_EQ(table.parts[0].wall_microseconds, 7);
  EXPECT_DOUBLE_EQ(table.parts[0].busy_microseconds, 6);
  EXPECT_DOUBLE_EQ(table.parts[1].wall_microseconds, 6);
  EXPECT_DOUBLE_EQ(table.parts[1].busy_microseconds, 5);
  EXPECT_DOUBLE_EQ(table.parts[2].wall_microseconds, 7);
  EXPECT_DOUBLE_EQ(table.parts[2].busy_microseconds, 5);
}

TEST(KernelTable, ShowsRowsAndParts) {
  const KernelTable table = MakeKernelTable(Events(), "Sample");
  const std::string text = ToText(table, /*rows=*/1);
  EXPECT_THAT(text, HasSubstr("gemm"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("convolution")));
  const nlohmann::json json = ToJson(table);
  EXPECT_DOUBLE_EQ(json["idle_us"], 4);
  EXPECT_EQ(json["kernels"].size(), 4);
  EXPECT_DOUBLE_EQ(json["kernels"][0]["share"], 7.5 / 20);
  EXPECT_EQ(json["parts"].size(), 3);
}

TEST(KernelTable, IsEmptyWithoutEvents) {
  const KernelTable table = MakeKernelTable({}, "Sample");
  EXPECT_TRUE(table.rows.empty());
  EXPECT_TRUE(table.parts.empty());
  EXPECT_DOUBLE_EQ(table.all.wall_microseconds, 0);
}

TEST(KernelName, DropsParametersAndKeepsTheRest) {
  EXPECT_EQ(KernelName("void a::f<int>(int, float*)", 100), "a::f<int>");
  EXPECT_EQ(
      KernelName("void (anonymous namespace)::f<2>(Work, int (*)(int))", 100),
      "(anonymous namespace)::f<2>");
  EXPECT_EQ(KernelName("Memcpy HtoD (Pinned -> Device)", 100),
            "Memcpy HtoD (Pinned -> Device)");
  EXPECT_EQ(KernelName("sm90_gemm_128x256", 100), "sm90_gemm_128x256");
  EXPECT_EQ(KernelName("abcdefghijklmnopqrstuvwxyz", 13), "abcdef...wxyz");
}

}  // namespace
}  // namespace heatkv::server
