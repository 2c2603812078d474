// Several simulated devices: how much more they do than one.

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/simulated_load.h"
#include "server/engine/simulator.h"
#include "tests/server/simulated_device.h"

namespace heatkv::server {
namespace {

class SimulatedDevicesTest : public testing::Test {
 protected:
  std::int64_t Peak(int ladder, int tier) const {
    return device_.Choice(ladder, tier).trajectory->peak_blocks();
  }

  // Always enough of mixed sizes that wait.
  double SaturatedThroughput(int devices, SchedulingPolicy policy) {
    SimulationInput input = device_.Input(4 * Peak(0, 0));
    input.devices = devices;
    input.scheduler.policy = policy;
    input.kinds = {device_.Kind(0, {0}), device_.Kind(0, {1}, 2),
                   device_.Kind(1, {2}), device_.Kind(1, {0}, 3)};
    input.requests =
        RandomLoad({.requests = 2000, .rate = 1, .seed = 5, .kinds_count = 4});
    input.backlog = 64;
    input.warm_up = 100;
    const SimulationReport report = Simulate(input);
    EXPECT_EQ(report.plan_error_blocks, 0);
    EXPECT_EQ(report.Count(Outcome::kFinished), 2000);
    EXPECT_LE(report.most_used_blocks, devices * 4 * Peak(0, 0));
    EXPECT_GT(report.utilisation, 0.97);
    return report.images_per_second;
  }

  SimulatedDevice device_;
};

TEST_F(SimulatedDevicesTest, SaturatedDevicesDoAsMuchMoreAsThereAre) {
  for (const auto policy :
       {SchedulingPolicy::kLatency, SchedulingPolicy::kPreview}) {
    const double one = SaturatedThroughput(1, policy);
    for (const int devices : {2, 4}) {
      const double all = SaturatedThroughput(devices, policy);
      EXPECT_GT(all, 0.93 * devices * one) << devices << " devices";
      EXPECT_LT(all, 1.05 * devices * one) << devices << " devices";
    }
  }
}

TEST_F(SimulatedDevicesTest, EightAtOnceAreDoneInHalfTheTime) {
  for (const auto policy :
       {SchedulingPolicy::kLatency, SchedulingPolicy::kPreview}) {
    absl::Duration length[2];
    for (const int devices : {1, 2}) {
      SimulationInput input = device_.Input(8 * Peak(0, 0));
      input.devices = devices;
      input.scheduler.policy = policy;
      input.kinds = {device_.Kind(0, {0})};
      input.requests = Listed(std::vector<SimulatedRequest>(8));
      length[devices - 1] = Simulate(input).length;
    }
    // Small scales of four cost no less than those of eight.
    EXPECT_LT(length[1], 0.55 * length[0]);
  }
}

TEST_F(SimulatedDevicesTest, OneAtATimeIsNoFasterOnTwo) {
  SimulationInput input = device_.Input(8 * Peak(0, 0));
  input.devices = 2;
  input.kinds = {device_.Kind(0, {0})};
  input.requests = Listed({{}, {.arrives = absl::Milliseconds(4)}});
  const SimulationReport report = Simulate(input);
  EXPECT_EQ(report.requests[0].ended, absl::Milliseconds(33));
  EXPECT_EQ(report.requests[1].ended, absl::Milliseconds(4 + 33));
  EXPECT_EQ(report.length, absl::Milliseconds(37));
}

// More than the devices can do, of all sizes, tiers, priorities and tenants, a
// fifth of them cancelled and a tenth with deadlines.
TEST_F(SimulatedDevicesTest, NothingIsLostAndNoPoolIsEverPassed) {
  for (const int devices : {2, 3}) {
    for (const auto policy :
         {SchedulingPolicy::kLatency, SchedulingPolicy::kPreview}) {
      const std::int64_t limit = 2 * Peak(0, 0) + 5;
      SimulationInput input = device_.Input(limit);
      input.devices = devices;
      input.scheduler.policy = policy;
      input.scheduler.queue.max_requests = 50;
      input.scheduler.queue.aging = absl::Milliseconds(400);
      input.tenants = {"a", "b", "c"};
      input.kinds = {device_.Kind(0, {0}), device_.Kind(0, {1}, 2),
                     device_.Kind(0, {0, 1, 2}), device_.Kind(1, {0}, 4)};
      input.requests = RandomLoad({.requests = 5000,
                                   .rate = 80.0 * devices,
                                   .seed = 11,
                                   .kinds_count = 4,
                                   .tenants = 3,
                                   .high_share = 0.1,
                                   .low_share = 0.3,
                                   .cancel_share = 0.2,
                                   .cancel_within = absl::Milliseconds(800),
                                   .deadline_share = 0.1,
                                   .deadline_after = absl::Milliseconds(700)});
      const SimulationReport report = Simulate(input);
      EXPECT_EQ(report.plan_error_blocks, 0);
      EXPECT_LE(report.most_used_blocks, devices * limit);
      for (const RequestRecord& request : report.requests) {
        ASSERT_LT(request.ended, absl::InfiniteDuration());
      }
      EXPECT_GT(report.Count(Outcome::kFinished), 1200);
      EXPECT_GT(report.Count(Outcome::kCancelled), 200);
      EXPECT_GT(report.utilisation, 0.9);
    }
  }
}

}  // namespace
}  // namespace heatkv::server
