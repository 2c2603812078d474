#include "client/bench/faults.h"

#include <map>
#include <set>

#include "gtest/gtest.h"

namespace heatkv::client {
namespace {

using Leave = FaultPlan::Leave;

std::map<Fault, int> CountKinds(const FaultDraws& draws, int requests) {
  std::map<Fault, int> counts;
  for (int i = 0; i < requests; ++i) ++counts[draws.At(i).fault];
  return counts;
}

FaultPlan Plan(Fault fault, Leave leave, double position) {
  FaultPlan plan;
  plan.fault = fault;
  plan.leave = leave;
  plan.position = position;
  return plan;
}

// The scales done when somebody with this plan leaves; -1: never.
int ScalesAtLeaving(const FaultPlan& plan, int images, int scales) {
  StreamPosition position;
  position.accepted = true;
  position.images = images;
  position.scales = scales;
  for (int i = 0; i <= images * scales; ++i) {
    position.scales_done = i;
    position.images_done = i / scales;
    if (IsTimeToLeave(plan, position)) return i;
  }
  return -1;
}

TEST(FaultsTest, SharesAreMetExactlyWhenTheNumberIsKnown) {
  const FaultDraws draws({0.2, 0.1, 0.05}, 64, 3);
  std::map<Fault, int> counts = CountKinds(draws, 64);
  EXPECT_EQ(counts[Fault::kCancel], 13);
  EXPECT_EQ(counts[Fault::kSlow], 6);
  EXPECT_EQ(counts[Fault::kVanish], 3);
  EXPECT_EQ(counts[Fault::kNone], 42);
}

TEST(FaultsTest, SharesThatAddUpToAllLeaveNobodyOut) {
  std::map<Fault, int> counts = CountKinds({{0.5, 0.25, 0.25}, 7, 1}, 7);
  EXPECT_EQ(counts[Fault::kNone], 0);
  EXPECT_EQ(counts[Fault::kCancel], 4);
}

TEST(FaultsTest, SharesAreMetOnAverageWhenTheNumberIsNotKnown) {
  std::map<Fault, int> counts = CountKinds({{0.2, 0.1, 0.05}, 0, 3}, 10000);
  EXPECT_NEAR(counts[Fault::kCancel], 2000, 5 * 40);
  EXPECT_NEAR(counts[Fault::kSlow], 1000, 5 * 30);
  EXPECT_NEAR(counts[Fault::kVanish], 500, 5 * 22);
}

TEST(FaultsTest, TheSeedDecidesWhoAndWhen) {
  const FaultDraws a({0.5, 0, 0}, 100, 1), same({0.5, 0, 0}, 100, 1),
      other({0.5, 0, 0}, 100, 2);
  int differences = 0;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(a.At(i).fault, same.At(i).fault);
    EXPECT_EQ(a.At(i).position, same.At(i).position);
    differences += a.At(i).fault != other.At(i).fault ? 1 : 0;
  }
  EXPECT_GT(differences, 10);
}

TEST(FaultsTest, NobodyLeavesBeforeAcceptance) {
  for (const Leave leave :
       {Leave::kOnceAccepted, Leave::kAfterScales, Leave::kBetweenImages}) {
    StreamPosition position;
    position.images = 2;
    position.scales_done = 100;
    position.images_done = 2;
    EXPECT_FALSE(IsTimeToLeave(Plan(Fault::kCancel, leave, 0), position));
    position.accepted = true;
    EXPECT_TRUE(IsTimeToLeave(Plan(Fault::kCancel, leave, 0), position));
    EXPECT_TRUE(IsTimeToLeave(Plan(Fault::kVanish, leave, 0), position));
    EXPECT_FALSE(IsTimeToLeave(Plan(Fault::kSlow, leave, 0), position));
    EXPECT_FALSE(IsTimeToLeave(Plan(Fault::kNone, leave, 0), position));
  }
}

TEST(FaultsTest, EveryPointWithinTheRequestIsReached) {
  std::set<int> scales, images;
  for (int i = 0; i < 1000; ++i) {
    const double position = i / 1000.0;
    scales.insert(ScalesAtLeaving(
        Plan(Fault::kCancel, Leave::kAfterScales, position), 3, 4));
    images.insert(ScalesAtLeaving(
        Plan(Fault::kVanish, Leave::kBetweenImages, position), 3, 4));
  }
  EXPECT_EQ(scales, (std::set<int>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  EXPECT_EQ(images, (std::set<int>{4, 8})) << "never after the last image";
  EXPECT_EQ(
      ScalesAtLeaving(Plan(Fault::kCancel, Leave::kBetweenImages, 0.5), 1, 4),
      3)
      << "one image has no between";
}

TEST(FaultsTest, SlowReadersPauseOftenOrOnce) {
  SlowPauses pauses{absl::Milliseconds(5), absl::Seconds(1)};
  FaultPlan plan = Plan(Fault::kSlow, Leave::kOnceAccepted, 0.3);
  StreamPosition position;
  absl::Duration steady, once;
  int pauses_made = 0;
  for (position.events = 1; position.events <= 20; ++position.events) {
    plan.is_steady = true;
    steady += PauseBeforeReading(plan, position, pauses);
    plan.is_steady = false;
    const absl::Duration pause = PauseBeforeReading(plan, position, pauses);
    once += pause;
    pauses_made += pause > absl::ZeroDuration() ? 1 : 0;
  }
  EXPECT_EQ(steady, absl::Milliseconds(100));
  EXPECT_EQ(once, absl::Seconds(1));
  EXPECT_EQ(pauses_made, 1);
  plan.fault = Fault::kCancel;
  EXPECT_EQ(PauseBeforeReading(plan, position, pauses), absl::ZeroDuration());
}

}  // namespace
}  // namespace heatkv::client
