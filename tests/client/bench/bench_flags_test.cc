#include "client/bench/bench_flags.h"

#include <cmath>

#include "client/durations.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv::client {
namespace {

using testing::HasSubstr;

TEST(DurationsTest, ReadsWhatPeopleType) {
  absl::Duration read;
  EXPECT_TRUE(ReadDuration("200ms", &read));
  EXPECT_EQ(read, absl::Milliseconds(200));
  EXPECT_TRUE(ReadDuration("1m30s", &read));
  EXPECT_EQ(read, absl::Seconds(90));
  EXPECT_TRUE(ReadDuration("2.5", &read));
  EXPECT_EQ(read, absl::Milliseconds(2500));
  for (const char* wrong :
       {"", "soon", "5 apples", "-1s", "-3", "nan", "inf"}) {
    EXPECT_FALSE(ReadDuration(wrong, &read)) << wrong;
  }
  EXPECT_EQ(read, absl::Milliseconds(2500)) << "left alone";
}

TEST(BenchFlagsTest, ALoadHasAnEnd) {
  BenchFlags flags;
  auto plan = MakeBenchPlan(flags);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->load.requests, 100);
  EXPECT_TRUE(std::isinf(plan->latency_limit));

  flags.duration = "5s";
  flags.latency_limit = "1500ms";
  plan = MakeBenchPlan(flags);
  ASSERT_TRUE(plan.ok());
  EXPECT_FALSE(plan->load.requests.has_value());
  EXPECT_EQ(plan->load.duration, absl::Seconds(5));
  EXPECT_EQ(plan->latency_limit, 1.5);
}

TEST(BenchFlagsTest, ContradictionsAreRefused) {
  BenchFlags flags;
  flags.faults = {0.5, 0.4, 0.2};
  EXPECT_THAT(MakeBenchPlan(flags).status().message(),
              HasSubstr("add up to 1.1"));
  flags.faults = {};
  flags.mix = "/no/such/file";
  EXPECT_THAT(MakeBenchPlan(flags).status().message(),
              HasSubstr("/no/such/file: cannot be read"));
  flags.replay = true;
  flags.choices.tiers = {"full"};
  EXPECT_THAT(MakeBenchPlan(flags).status().message(),
              HasSubstr("--replay sends the lines as they are"));
}

}  // namespace
}  // namespace heatkv::client
