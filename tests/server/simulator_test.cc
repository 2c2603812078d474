#include "server/engine/simulator.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/simulated_load.h"
#include "tests/server/simulated_device.h"

namespace heatkv::server {
namespace {

using ::testing::Each;
using ::testing::Field;

constexpr std::int64_t kRoomy = 1 << 20;  // blocks; enough for everybody

// Groups of 36 rows under guidance: the scales of 1, 4, 9 and 16 tokens take
// 16, 4, 2 and 1 images a step.
class SimulatorTest : public testing::Test {
 protected:
  std::int64_t Peak(int ladder, int tier) const {
    return device_.Choice(ladder, tier).trajectory->peak_blocks();
  }

  SimulatedDevice device_;
};

TEST_F(SimulatorTest, OneRequestTakesTheSumOfItsCosts) {
  SimulationInput input = device_.Input(kRoomy);
  input.kinds = {device_.Kind(0, {0})};
  input.requests = Listed({{.arrives = absl::Milliseconds(100)}});
  const SimulationReport report = Simulate(input);
  ASSERT_EQ(report.requests.size(), 1);
  const RequestRecord& request = report.requests[0];
  EXPECT_EQ(request.outcome, Outcome::kFinished);
  EXPECT_EQ(request.started, absl::Milliseconds(100));
  EXPECT_EQ(request.first_scale, absl::Milliseconds(100 + 2 + 1));
  // Text 2, scales 1 + 2 + ... + 6, decoding 10.
  EXPECT_EQ(request.ended, absl::Milliseconds(100 + 2 + 21 + 10));
  EXPECT_EQ(request.ended - request.arrived, device_.costs().ImageAlone(0, 2));
  EXPECT_EQ(report.length, absl::Milliseconds(133));
  EXPECT_EQ(report.busy, absl::Milliseconds(33));
  EXPECT_EQ(report.turns, 6);
  EXPECT_EQ(report.most_used_blocks, Peak(0, 0));
  EXPECT_EQ(report.most_running_images, 1);
}

TEST_F(SimulatorTest, TwoAtOnceShareTheStepsOfGroupedScales) {
  SimulationInput input = device_.Input(kRoomy);
  input.kinds = {device_.Kind(0, {0})};
  input.requests = Listed({{}, {}});
  const SimulationReport report = Simulate(input);
  // Both texts, then scales of 1, 2 and 3 ms together; 4, 5 and 6 ms and the
  // decoding alone, the first image to its end before the second.
  EXPECT_EQ(report.requests[0].ended, absl::Milliseconds(2 * 2 + 6 + 15 + 10));
  EXPECT_EQ(report.requests[1].ended,
            absl::Milliseconds(2 * 2 + 6 + 2 * (15 + 10)));
  EXPECT_EQ(report.requests[0].first_scale, absl::Milliseconds(5));
  EXPECT_EQ(report.requests[1].first_scale, absl::Milliseconds(5));
  EXPECT_EQ(report.turns, 3 + 2 * 3);
}

TEST_F(SimulatorTest, ImagesOfOneRequestShareItsText) {
  SimulationInput input = device_.Input(kRoomy);
  input.kinds = {device_.Kind(0, {0}, 2)};
  input.requests = Listed({{}});
  const SimulationReport report = Simulate(input);
  EXPECT_EQ(report.images, 2);
  EXPECT_EQ(report.requests[0].ended,
            absl::Milliseconds(2 + 6 + 2 * (15 + 10)));
}

TEST_F(SimulatorTest, WhoComesWhileAnotherRunsWaitsUnderLatency) {
  SimulationInput input = device_.Input(kRoomy);
  input.kinds = {device_.Kind(0, {0})};
  input.requests = Listed({{}, {.arrives = absl::Milliseconds(4)}});
  const SimulationReport report = Simulate(input);
  EXPECT_EQ(report.requests[0].ended, absl::Milliseconds(33));
  EXPECT_EQ(report.requests[1].started, absl::Milliseconds(33));
  EXPECT_EQ(report.requests[1].ended, absl::Milliseconds(66));
}

TEST_F(SimulatorTest, WhoComesWhileAnotherRunsIsShownSomethingUnderPreview) {
  SimulationInput input = device_.Input(kRoomy);
  input.scheduler.policy = SchedulingPolicy::kPreview;
  input.kinds = {device_.Kind(0, {0})};
  input.requests = Listed({{}, {.arrives = absl::Milliseconds(10)}});
  const SimulationReport report = Simulate(input);
  // The first is in its step of 4 ms (8 to 12).
  EXPECT_EQ(report.requests[1].started, absl::Milliseconds(12));
  EXPECT_EQ(report.requests[1].first_scale, absl::Milliseconds(15));
  EXPECT_EQ(report.requests[0].ended, absl::Milliseconds(33 + 2 + 6));
}

TEST_F(SimulatorTest, AFullPoolMakesThemTakeTurns) {
  SimulationInput input = device_.Input(Peak(0, 0));
  input.scheduler.rule = AdmissionRule::kSumOfPeaks;
  input.kinds = {device_.Kind(0, {0})};
  input.requests = Listed({{}, {}, {}});
  const SimulationReport report = Simulate(input);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(report.requests[i].ended, absl::Milliseconds(33 * (i + 1)));
  }
  EXPECT_EQ(report.most_running_images, 1);
  EXPECT_EQ(report.most_used_blocks, Peak(0, 0));
}

TEST_F(SimulatorTest, SafeStatesRunMoreAtOnceThanPeaksAllow) {
  SimulationInput input = device_.Input(2 * Peak(0, 0));
  input.scheduler.policy = SchedulingPolicy::kPreview;
  input.kinds = {device_.Kind(0, {0})};
  input.requests = IdenticalLoad(200);
  input.backlog = 8;
  input.warm_up = 50;
  const SimulationReport safe = Simulate(input);
  input.requests = IdenticalLoad(200);
  input.scheduler.rule = AdmissionRule::kSumOfPeaks;
  const SimulationReport peaks = Simulate(input);
  EXPECT_EQ(peaks.most_running_images, 2);
  EXPECT_GT(safe.most_running_images, 2);
  EXPECT_LE(safe.most_used_blocks, 2 * Peak(0, 0));
  EXPECT_GT(safe.images_per_second, 0.99 * peaks.images_per_second);
}

TEST_F(SimulatorTest, SaturatedThroughputIsOneOverTheCost) {
  SimulationInput input = device_.Input(Peak(0, 0));
  input.kinds = {device_.Kind(0, {0})};
  input.requests = IdenticalLoad(100);
  input.backlog = 1;
  input.warm_up = 10;
  const SimulationReport report = Simulate(input);
  EXPECT_NEAR(report.images_per_second, 1 / 0.033, 1e-9);
  EXPECT_NEAR(report.utilisation, 1, 1e-12);
  EXPECT_NEAR(report.mean_running_images, 23.0 / 33, 0.05);
  EXPECT_EQ(report.length, absl::Milliseconds(33 * 100));
}

TEST_F(SimulatorTest, CancellationEndsBeforeTheNextStepWaitingOrRunning) {
  SimulationInput input = device_.Input(Peak(0, 0));
  input.kinds = {device_.Kind(0, {0})};
  input.requests = Listed({{.cancelled_after = absl::Milliseconds(6)},
                           {.cancelled_after = absl::Milliseconds(7)},
                           {}});
  input.scheduler.rule = AdmissionRule::kSumOfPeaks;
  const SimulationReport report = Simulate(input);
  EXPECT_EQ(report.requests[0].outcome, Outcome::kCancelled);
  // Text 2, scales 1, 2 and 3 ms: it is seen after 8.
  EXPECT_EQ(report.requests[0].ended, absl::Milliseconds(8));
  EXPECT_EQ(report.requests[1].outcome, Outcome::kCancelled);
  EXPECT_EQ(report.requests[1].started, absl::InfiniteDuration());
  EXPECT_EQ(report.requests[2].outcome, Outcome::kFinished);
  EXPECT_EQ(report.requests[2].ended, absl::Milliseconds(8 + 33));
}

TEST_F(SimulatorTest, DeadlineEndsARequestBeforeItsDecoding) {
  SimulationInput input = device_.Input(kRoomy);
  input.kinds = {device_.Kind(0, {0})};
  input.requests = Listed({{.deadline_after = absl::Milliseconds(22)}});
  const SimulationReport report = Simulate(input);
  EXPECT_EQ(report.requests[0].outcome, Outcome::kLate);
  EXPECT_EQ(report.requests[0].ended, absl::Milliseconds(23));
}

TEST_F(SimulatorTest, FullQueueAndTooSmallPoolRefuse) {
  SimulationInput input = device_.Input(Peak(0, 0) - 1);
  input.scheduler.queue.max_requests = 1;
  input.kinds = {device_.Kind(0, {0}), device_.Kind(1, {0})};
  input.requests = Listed({{.kind = 0}, {.kind = 1}, {.kind = 1}});
  const SimulationReport report = Simulate(input);
  EXPECT_EQ(report.requests[0].outcome, Outcome::kNeverFits);
  EXPECT_EQ(report.requests[1].outcome, Outcome::kFinished);
  EXPECT_EQ(report.requests[2].outcome, Outcome::kRefused);
}

TEST_F(SimulatorTest, ATightPoolGrantsTheLowerTierThatWasAllowed) {
  SimulationInput input = device_.Input(Peak(0, 0) + Peak(0, 2));
  input.kinds = {device_.Kind(0, {0, 1, 2})};
  input.requests = Listed({{}, {}});
  const SimulationReport report = Simulate(input);
  EXPECT_EQ(report.requests[0].choice, 0);
  EXPECT_EQ(report.requests[1].choice, 2);
}

TEST_F(SimulatorTest, EqualSeedsGiveEqualReportsAndOthersDoNot) {
  const auto run = [this](std::uint64_t seed) {
    SimulationInput input = device_.Input(3 * Peak(0, 0));
    input.kinds = {device_.Kind(0, {0}), device_.Kind(1, {1})};
    input.requests = RandomLoad({.requests = 300,
                                 .rate = 30,
                                 .seed = seed,
                                 .kinds = {1, 2},
                                 .cancel_share = 0.2,
                                 .cancel_within = absl::Milliseconds(100)});
    std::vector<absl::Duration> ends;
    for (const RequestRecord& request : Simulate(input).requests) {
      ends.push_back(request.ended);
    }
    return ends;
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

struct Trace {
  SchedulingPolicy policy;
  AdmissionRule rule;
  std::uint64_t seed;
};

class MixedTraceTest : public SimulatorTest,
                       public testing::WithParamInterface<Trace> {};

// 10,000 requests of all sizes, tiers, priorities and tenants, more than the
// device can do, a fifth of them cancelled and a tenth with deadlines.
TEST_P(MixedTraceTest, NothingIsLostAndThePoolIsNeverPassed) {
  const std::int64_t limit = 2 * Peak(0, 0) + 5;
  SimulationInput input = device_.Input(limit);
  input.scheduler.policy = GetParam().policy;
  input.scheduler.rule = GetParam().rule;
  input.scheduler.queue.max_requests = 50;
  input.scheduler.queue.aging = absl::Milliseconds(400);
  input.tenants = {"a", "b", "c"};
  input.kinds = {device_.Kind(0, {0}),       device_.Kind(0, {1}, 2),
                 device_.Kind(0, {0, 1, 2}), device_.Kind(1, {0}, 4),
                 device_.Kind(1, {2}),       device_.Kind(1, {0, 2})};
  input.requests = RandomLoad({.requests = 10000,
                               .rate = 60,
                               .seed = GetParam().seed,
                               .kinds_count = 6,
                               .tenants = 3,
                               .high_share = 0.1,
                               .low_share = 0.3,
                               .cancel_share = 0.2,
                               .cancel_within = absl::Milliseconds(800),
                               .deadline_share = 0.1,
                               .deadline_after = absl::Milliseconds(700)});
  const SimulationReport report = Simulate(input);
  EXPECT_EQ(report.plan_error_blocks, 0);
  EXPECT_LE(report.most_used_blocks, limit);
  ASSERT_EQ(report.requests.size(), 10000);
  // Every one ended, in exactly one way.
  EXPECT_THAT(report.requests,
              Each(Field(&RequestRecord::ended,
                         testing::Lt(absl::InfiniteDuration()))));
  EXPECT_EQ(report.Count(Outcome::kFinished) +
                report.Count(Outcome::kCancelled) +
                report.Count(Outcome::kLate) + report.Count(Outcome::kRefused),
            10000);
  EXPECT_GT(report.Count(Outcome::kFinished), 4000);
  EXPECT_GT(report.Count(Outcome::kCancelled), 500);
  EXPECT_GT(report.Count(Outcome::kLate), 100);
  EXPECT_GT(report.Count(Outcome::kRefused), 100);
  std::int64_t images = 0;
  for (const RequestRecord& request : report.requests) {
    const bool finished = request.outcome == Outcome::kFinished;
    EXPECT_LE(request.arrived, request.ended);
    if (finished) {
      EXPECT_LT(request.started, request.first_scale);
      EXPECT_LT(request.first_scale, request.ended);
      EXPECT_GE(request.choice, 0);
      images += input.kinds[request.kind].images;
    }
  }
  EXPECT_GE(report.images, images);
  EXPECT_GT(report.utilisation, 0.9);
}

INSTANTIATE_TEST_SUITE_P(
    Traces, MixedTraceTest,
    testing::Values(
        Trace{SchedulingPolicy::kLatency, AdmissionRule::kSafeState, 11},
        Trace{SchedulingPolicy::kPreview, AdmissionRule::kSafeState, 12},
        Trace{SchedulingPolicy::kPreview, AdmissionRule::kSafeState, 13},
        Trace{SchedulingPolicy::kPreview, AdmissionRule::kSumOfPeaks, 14}));

}  // namespace
}  // namespace heatkv::server
