#include "bench/kernel_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace heatkv::server {
namespace {

using ::testing::ElementsAre;
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
  EXPECT_DOUBLE_EQ(table.parts[0].span.wall_microseconds, 7);
  EXPECT_DOUBLE_EQ(table.parts[0].span.busy_microseconds, 6);
  EXPECT_DOUBLE_EQ(table.parts[1].span.wall_microseconds, 6);
  EXPECT_DOUBLE_EQ(table.parts[1].span.busy_microseconds, 5);
  EXPECT_DOUBLE_EQ(table.parts[2].span.wall_microseconds, 7);
  EXPECT_DOUBLE_EQ(table.parts[2].span.busy_microseconds, 5);
}

TEST(KernelTable, GivesEveryPartItsNameAndItsKernels) {
  const KernelTable table = MakeKernelTable(Events(), "Sample");
  ASSERT_EQ(table.parts.size(), 3);
  std::vector<std::string> parts;
  for (const KernelPart& part : table.parts) {
    parts.push_back(part.name + ":");
    for (const KernelRow& row : part.rows) {
      parts.push_back(
          absl::StrCat(row.name, " ", row.calls, " ", row.microseconds));
    }
  }
  EXPECT_THAT(parts, ElementsAre("scale 1:", "gemm 1 4", "Sample 1 1",
                                 "norm<float> 1 1", "scale 2:", "gemm 1 3.5",
                                 "Sample 1 1", "norm<float> 1 1",
                                 "decode:", "convolution 1 5"));
}

TEST(KernelTable, HasNoDecodingIfNothingFollowsTheLastMarker) {
  std::vector<DeviceEvent> events = Events();
  events.pop_back();
  const KernelTable table = MakeKernelTable(events, "Sample");
  ASSERT_EQ(table.parts.size(), 2);
  EXPECT_EQ(table.parts[1].name, "scale 2");
}

TEST(KernelTable, WritesTheSixteenLongestKernelsOfAPart) {
  std::vector<DeviceEvent> events;
  for (int i = 0; i < 20; ++i) {
    events.push_back({absl::StrCat("k", i), 1000 * i, 1000 * i + 10 * i + 10});
  }
  const nlohmann::json json = ToJson(MakeKernelTable(events, "Sample"));
  EXPECT_EQ(json["kernels"].size(), 20);
  ASSERT_EQ(json["parts"].size(), 1);
  const nlohmann::json& part = json["parts"][0];
  EXPECT_EQ(part["part"], "decode");
  ASSERT_EQ(part["kernels"].size(), 16);
  EXPECT_EQ(part["kernels"][0],
            (nlohmann::json{{"name", "k19"}, {"calls", 1}, {"us", 0.2}}));
  EXPECT_EQ(part["kernels"][15]["name"], "k4");
}

TEST(KernelTable, ShowsRowsAndParts) {
  const KernelTable table = MakeKernelTable(Events(), "Sample");
  const std::string text = ToText(table, /*rows=*/1);
  EXPECT_THAT(text, HasSubstr("gemm"));
  EXPECT_THAT(text, HasSubstr(" scale 2          6.0          1.0\n"));
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
