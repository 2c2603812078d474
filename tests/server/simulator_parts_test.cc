// The parts around the simulator: costs, the trace, loads and concurrency.

#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/occupancy_trace.h"
#include "server/engine/simulated_load.h"
#include "server/engine/step_cost_table.h"
#include "tests/cache/random_case.h"
#include "tests/server/simulated_device.h"

namespace heatkv::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(OccupancyTraceTest, MeansOverTimeSurviveTheMergingOfIntervals) {
  OccupancyTrace trace(8);
  absl::Duration now;
  double block_seconds = 0;
  for (int i = 1; i <= 1000; ++i) {
    const absl::Duration next = now + absl::Microseconds(37 * i % 900 + 1);
    trace.Add(now, next,
              {.used_blocks = i, .running_images = 3, .waiting_images = 7});
    block_seconds += i * absl::ToDoubleSeconds(next - now);
    now = next;
  }
  EXPECT_EQ(trace.length(), now);
  const std::vector<OccupancyTrace::Interval> intervals = trace.Intervals();
  EXPECT_LE(intervals.size(), 8);
  EXPECT_GT(intervals.size(), 4);
  double sum = 0;
  for (std::size_t i = 0; i < intervals.size(); ++i) {
    const absl::Duration end =
        std::min(trace.interval_length() * (i + 1), trace.length());
    sum += intervals[i].used_blocks *
           absl::ToDoubleSeconds(end - trace.interval_length() * i);
    EXPECT_NEAR(intervals[i].running_images, 3, 1e-9);
    EXPECT_NEAR(intervals[i].waiting_images, 7, 1e-9);
  }
  EXPECT_NEAR(sum, block_seconds, 1e-6 * block_seconds);
  EXPECT_EQ(intervals.back().most_used_blocks, 1000);
}

TEST(OccupancyTraceTest, OneStepMayFillManyIntervals) {
  OccupancyTrace trace(4);
  trace.Add(absl::ZeroDuration(), absl::Seconds(1), {.used_blocks = 5});
  trace.Add(absl::Seconds(1), absl::Seconds(1), {.used_blocks = 50});
  for (const auto& interval : trace.Intervals()) {
    EXPECT_NEAR(interval.used_blocks, 5, 1e-9);
    EXPECT_EQ(interval.most_used_blocks, 5);
  }
}

TEST(StepCostTableTest, MoreImagesThanGivenCostTheLastNumber) {
  const SimulatedDevice device;
  std::vector<StepCostTable::LadderCosts> ladders(2);
  for (int l = 0; l < 2; ++l) {
    for (auto& steps : ladders[l].steps) {
      steps.assign(device.spec().ladders[l].ladder.num_scales(),
                   {absl::Seconds(1), absl::Seconds(2)});
    }
  }
  const auto table = StepCostTable::Create(device.spec(), ladders,
                                           absl::ZeroDuration(), "invented");
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->Step(0, 3, 1, 1), absl::Seconds(1));
  EXPECT_EQ(table->Step(0, 3, 1, 2), absl::Seconds(2));
  EXPECT_EQ(table->Step(0, 3, 1, 9), absl::Seconds(2));
}

TEST(StepCostTableTest, MissingAndImpossibleCostsAreNamed) {
  const SimulatedDevice device;
  std::vector<StepCostTable::LadderCosts> ladders(2);
  const auto refusal = [&] {
    return std::string(StepCostTable::Create(device.spec(), ladders,
                                             absl::ZeroDuration(), "invented")
                           .status()
                           .message());
  };
  EXPECT_THAT(refusal(), AllOf(HasSubstr("1:1 at large"), HasSubstr("0 scales"),
                               HasSubstr("has 6")));
  for (int l = 0; l < 2; ++l) {
    for (auto& steps : ladders[l].steps) {
      steps.assign(device.spec().ladders[l].ladder.num_scales(),
                   {absl::Seconds(1)});
    }
  }
  ladders[1].steps[1][2] = {};
  EXPECT_THAT(refusal(), AllOf(HasSubstr("1:1 at small, 2 branches, scale 2"),
                               HasSubstr("no cost")));
  ladders[1].steps[1][2] = {absl::Seconds(-1)};
  EXPECT_THAT(refusal(), HasSubstr("-1s"));
  ladders.pop_back();
  EXPECT_THAT(refusal(), AllOf(HasSubstr("1 ladders"), HasSubstr("has 2")));
}

// Of the shape of Infinity-2B.
TEST(ModeledCostsTest, FollowTheRooflineOfTheDevice) {
  model::ModelSpec spec;
  spec.transformer.depth = 32;
  spec.transformer.width = 2048;
  spec.transformer.heads = 16;
  spec.transformer.mlp_width = 8192;
  spec.vae.channel_multipliers = {1, 2, 4, 4, 4};
  spec.text_encoder.width = 2048;
  spec.text_encoder.heads = 32;
  spec.text_encoder.head_width = 64;
  spec.text_encoder.layers = 24;
  spec.text_encoder.mlp_width = 5120;
  spec.ladders = {{.aspect = "1:1",
                   .pixel_class = "1M",
                   .rope_grid = {64, 64},
                   .ladder = cache::InfinityLadder()}};
  const StepCostTable table = ModeledCosts(spec);
  EXPECT_THAT(table.source(), HasSubstr("not a measurement"));
  // 4.3 GB of weights at 3.3 TB/s.
  EXPECT_NEAR(absl::ToDoubleSeconds(table.Step(0, 0, 2, 16)), 1.30e-3, 0.05e-3);
  // 30.8 TFLOP of products and 22.7 of attention.
  EXPECT_NEAR(absl::ToDoubleSeconds(table.Step(0, 12, 2, 1)),
              30.786 / 650 + 22.594 / 620 + 8192 * 0.475e-6, 1e-3);
  // One branch has half of all that.
  EXPECT_NEAR(
      absl::FDivDuration(table.Step(0, 12, 1, 1), table.Step(0, 12, 2, 1)), 0.5,
      1e-6);
  EXPECT_NEAR(absl::ToDoubleSeconds(table.Decode(0)), 0.030, 1e-4);
  EXPECT_NEAR(absl::ToDoubleSeconds(table.ImageAlone(0, 2)), 0.235, 0.01);
}

TEST(RandomLoadTest, HasTheRateAndTheSharesThatWereAsked) {
  const RequestSource source = RandomLoad({.requests = 20000,
                                           .rate = 5,
                                           .seed = 4,
                                           .kinds = {1, 0, 3},
                                           .tenants = 2,
                                           .high_share = 0.25,
                                           .low_share = 0.5,
                                           .cancel_share = 0.2,
                                           .cancel_within = absl::Seconds(3)});
  int kinds[3] = {};
  int tenants[2] = {};
  int priorities[3] = {};
  int cancelled = 0;
  absl::Duration last;
  double squares = 0;  // of the times between arrivals
  while (const std::optional<SimulatedRequest> request = source()) {
    ASSERT_GE(request->arrives, last);
    squares += std::pow(absl::ToDoubleSeconds(request->arrives - last), 2);
    last = request->arrives;
    ++kinds[request->kind];
    ++tenants[request->tenant];
    ++priorities[static_cast<int>(request->priority)];
    if (request->cancelled_after < absl::InfiniteDuration()) {
      ++cancelled;
      ASSERT_LT(request->cancelled_after, absl::Seconds(3));
    }
    ASSERT_EQ(request->deadline_after, absl::InfiniteDuration());
  }
  EXPECT_NEAR(absl::ToDoubleSeconds(last), 4000, 100);
  // The second moment of an exponential distribution of mean 0.2.
  EXPECT_NEAR(squares / 20000, 2 * 0.2 * 0.2, 0.004);
  EXPECT_EQ(kinds[1], 0);
  EXPECT_NEAR(kinds[2], 15000, 300);
  EXPECT_NEAR(tenants[1], 10000, 300);
  EXPECT_NEAR(priorities[static_cast<int>(Priority::kHigh)], 5000, 300);
  EXPECT_NEAR(priorities[static_cast<int>(Priority::kLow)], 10000, 300);
  EXPECT_NEAR(cancelled, 4000, 200);
}

TEST(SummariseTest, PercentilesAreOfFinishedRequestsAfterTheWarmUp) {
  SimulationReport report;
  for (int i = 0; i < 105; ++i) {
    RequestRecord record;
    record.arrived = absl::Seconds(i);
    record.started = absl::Seconds(i + 1);
    record.first_scale = absl::Seconds(i + 2);
    record.ended = absl::Seconds(2 * i + 1);  // took i + 1 seconds
    if (i >= 100) record.outcome = Outcome::kCancelled;
    report.requests.push_back(record);
  }
  const LoadSummary all = Summarise(report, 0);
  EXPECT_EQ(all.latency.count, 100);
  EXPECT_EQ(all.latency.p50, 50);
  EXPECT_EQ(all.latency.p95, 95);
  EXPECT_EQ(all.latency.p99, 99);
  EXPECT_EQ(all.latency.mean, 50.5);
  EXPECT_EQ(all.wait.p99, 1);
  EXPECT_EQ(all.first_scale.p50, 2);
  EXPECT_EQ(Summarise(report, 50).latency.p50, 75);
  EXPECT_EQ(Summarise(report, 105).latency.count, 0);
}

TEST(ConcurrencyTest, SumOfPeaksIsThePoolDividedByThePeak) {
  const SimulatedDevice device;
  SimulationInput input = device.Input(0);
  const RequestKind kind = device.Kind(0, {1});
  input.scheduler.limit_blocks =
      5 * kind.choices[0].trajectory->peak_blocks() + 3;
  input.scheduler.policy = SchedulingPolicy::kPreview;
  input.scheduler.max_running_images = 1000;
  input.scheduler.rule = AdmissionRule::kSumOfPeaks;
  const Concurrency peaks =
      MeasureConcurrency(input.scheduler, input.capacity, device.costs(), kind);
  EXPECT_EQ(peaks.greatest, 5);
  EXPECT_LE(peaks.mean, 5);
  EXPECT_GT(peaks.mean, 4);
  input.scheduler.rule = AdmissionRule::kSafeState;
  const Concurrency safe =
      MeasureConcurrency(input.scheduler, input.capacity, device.costs(), kind);
  EXPECT_GT(safe.greatest, peaks.greatest);
  EXPECT_GT(safe.mean, peaks.mean);
  EXPECT_GT(safe.images_per_second, 0.99 * peaks.images_per_second);
}

}  // namespace
}  // namespace heatkv::server
