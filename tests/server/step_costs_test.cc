#include "server/engine/step_costs.h"

#include <memory>
#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache/hand_trajectory.h"

namespace heatkv::server {
namespace {

using cache::HandTrajectory;
using cache::Trajectory;

// Scales of 16, 32 and 64 tokens (1, 2 and 4 blocks); held after each: 1, 3, 0.
std::shared_ptr<const Trajectory> Climb() {
  return HandTrajectory({1, 2, 4}, {9, 9, 9});
}

double Seconds(std::optional<absl::Duration> duration) {
  return duration.has_value() ? absl::ToDoubleSeconds(*duration) : -1;
}

constexpr double kNothing = -1;  // what Seconds says of no estimate

TEST(StepCostsTest, NothingIsPromisedBeforeAnythingWasMeasured) {
  const StepCosts costs;
  EXPECT_EQ(Seconds(costs.Step(0, 0, 1, 16)), kNothing);
  EXPECT_EQ(Seconds(costs.Decode(0, 64)), kNothing);
  EXPECT_EQ(Seconds(costs.Text()), kNothing);
  EXPECT_EQ(Seconds(costs.Rest(0, *Climb(), 0)), kNothing);
}

TEST(StepCostsTest, FirstSampleSetsAndLaterOnesMoveItByAQuarter) {
  StepCosts costs;
  costs.RecordStep(0, 1, 2, 32, 1, absl::Seconds(8));
  EXPECT_DOUBLE_EQ(Seconds(costs.Step(0, 1, 2, 32)), 8);
  costs.RecordStep(0, 1, 2, 32, 1, absl::Seconds(4));
  EXPECT_DOUBLE_EQ(Seconds(costs.Step(0, 1, 2, 32)), 7);
  costs.RecordStep(0, 1, 2, 32, 1, absl::Seconds(3));
  EXPECT_DOUBLE_EQ(Seconds(costs.Step(0, 1, 2, 32)), 6);

  costs.RecordDecode(0, 64, absl::Seconds(2));
  costs.RecordDecode(0, 64, absl::Seconds(6));
  EXPECT_DOUBLE_EQ(Seconds(costs.Decode(0, 64)), 3);
  costs.RecordText(absl::Seconds(1));
  costs.RecordText(absl::Seconds(5));
  EXPECT_DOUBLE_EQ(Seconds(costs.Text()), 2);
}

TEST(StepCostsTest, ImagesOfAGroupShareItsTime) {
  StepCosts costs;
  costs.RecordStep(0, 0, 1, 16, 4, absl::Seconds(2));
  EXPECT_DOUBLE_EQ(Seconds(costs.Step(0, 0, 1, 16)), 0.5);
}

TEST(StepCostsTest, KindsAreKeptApart) {
  StepCosts costs;
  costs.RecordStep(0, 0, 1, 16, 1, absl::Seconds(1));
  costs.RecordStep(1, 0, 1, 16, 1, absl::Seconds(2));
  costs.RecordStep(0, 1, 1, 16, 1, absl::Seconds(3));
  costs.RecordStep(0, 0, 2, 16, 1, absl::Seconds(4));
  EXPECT_DOUBLE_EQ(Seconds(costs.Step(0, 0, 1, 16)), 1);
  EXPECT_DOUBLE_EQ(Seconds(costs.Step(1, 0, 1, 16)), 2);
  EXPECT_DOUBLE_EQ(Seconds(costs.Step(0, 1, 1, 16)), 3);
  EXPECT_DOUBLE_EQ(Seconds(costs.Step(0, 0, 2, 16)), 4);
}

TEST(StepCostsTest, WhatWasNotMeasuredIsEstimatedByTokens) {
  StepCosts costs;
  costs.RecordStep(0, 0, 1, 10, 1, absl::Seconds(1));
  // 0.1 s a token with one branch, so 0.1 s a row.
  EXPECT_DOUBLE_EQ(Seconds(costs.Step(0, 3, 1, 50)), 5);
  EXPECT_DOUBLE_EQ(Seconds(costs.Step(7, 0, 1, 50)), 5);
  EXPECT_DOUBLE_EQ(Seconds(costs.Step(0, 0, 2, 50)), 10);
  costs.RecordStep(0, 1, 1, 30, 1, absl::Seconds(7));
  // 8 s for 40 tokens.
  EXPECT_DOUBLE_EQ(Seconds(costs.Step(0, 3, 1, 50)), 10);
  // Those of the same branches are asked first: 2 s for 40 rows.
  costs.RecordStep(0, 0, 2, 20, 1, absl::Seconds(2));
  EXPECT_DOUBLE_EQ(Seconds(costs.Step(0, 3, 2, 50)), 5);
  EXPECT_DOUBLE_EQ(Seconds(costs.Step(0, 3, 1, 50)), 10);

  costs.RecordDecode(0, 64, absl::Seconds(1));
  costs.RecordDecode(1, 36, absl::Seconds(4));
  EXPECT_DOUBLE_EQ(Seconds(costs.Decode(2, 200)), 10);
}

TEST(StepCostsTest, RestIsTheScalesToComeAndTheDecoding) {
  StepCosts costs;
  costs.RecordStep(0, 0, 1, 16, 1, absl::Seconds(1));
  costs.RecordStep(0, 1, 1, 32, 1, absl::Seconds(2));
  costs.RecordStep(0, 2, 1, 64, 1, absl::Seconds(4));
  EXPECT_EQ(Seconds(costs.Rest(0, *Climb(), 0)), kNothing);
  costs.RecordDecode(0, 64, absl::Seconds(8));
  EXPECT_DOUBLE_EQ(Seconds(costs.Rest(0, *Climb(), 0)), 15);
  EXPECT_DOUBLE_EQ(Seconds(costs.Rest(0, *Climb(), 2)), 12);
  EXPECT_DOUBLE_EQ(Seconds(costs.Rest(0, *Climb(), 3)), 8);
  // Another ladder: 7 s for 112 tokens, and as long a decoding.
  EXPECT_DOUBLE_EQ(Seconds(costs.Rest(1, *Climb(), 0)), 15);
}

TEST(StepCostsTest, ByteSecondsAreBytesHeldInEachScaleTimesItsSeconds) {
  StepCosts costs;
  const auto climb = Climb();
  const double block = static_cast<double>(climb->bytes(1));
  // At most 1, 3 and 3 blocks; 10,000 rows a second before any measurement.
  EXPECT_DOUBLE_EQ(costs.ByteSeconds(0, *climb),
                   block * (1 * 16 + 3 * 32 + 3 * 64) / 10000);
  costs.RecordStep(0, 1, 1, 32, 1, absl::Seconds(2));
  // 1 and 4 s by the tokens.
  EXPECT_DOUBLE_EQ(costs.ByteSeconds(0, *climb),
                   block * (1 * 1 + 3 * 2 + 3 * 4));
  costs.RecordStep(0, 2, 1, 64, 2, absl::Seconds(20));
  // 12 s for 96 tokens.
  EXPECT_DOUBLE_EQ(costs.ByteSeconds(0, *climb),
                   block * (1 * 2 + 3 * 2 + 3 * 10));
}

TEST(StepCostsTest, CopiesAreValues) {
  StepCosts costs;
  costs.RecordText(absl::Seconds(1));
  const StepCosts copy = costs;
  costs.RecordText(absl::Seconds(5));
  EXPECT_DOUBLE_EQ(Seconds(copy.Text()), 1);
}

}  // namespace
}  // namespace heatkv::server
