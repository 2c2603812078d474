#include "cache/schedule.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache/random_case.h"

namespace heatkv::cache {
namespace {

using ::testing::ElementsAre;

// Scales of 1, 4, 9, 16, 25 tokens; one sink; source scales 1, 2, 3; 3 layers
// of 1 head.  Departures are listed by (source scale, layer).
class ScheduleTest : public testing::Test {
 protected:
  Schedule Make(std::vector<Departure> departures,
                std::vector<std::vector<EarlyDrop>> early) {
    return Schedule("test", SquareLadder({1, 2, 3, 4, 5}, 1), 3, 1,
                    Budget::Full(), std::move(departures), std::move(early),
                    std::vector<int>(5, 0));
  }
  static constexpr Departure kStays{};
};

TEST_F(ScheduleTest, SegmentIsMissingFromTheScaleAfterItsDeparture) {
  std::vector<Departure> departures(9, kStays);
  departures[0 * 3 + 1] = {.scale = 2, .after_layer = 1};
  const Schedule schedule = Make(departures, {{}, {}, {}, {}, {}});
  const HeadIndex head{.layer = 1, .head = 0};
  EXPECT_FALSE(schedule.IsRemoved(2, 1, head));
  EXPECT_TRUE(schedule.IsRemoved(3, 1, head));
  EXPECT_TRUE(schedule.IsRemoved(4, 1, head));
  EXPECT_TRUE(schedule.IsKeptAfter(1, 1, head));
  EXPECT_FALSE(schedule.IsKeptAfter(2, 1, head));
  EXPECT_EQ(schedule.removed_total(2), 0);
  EXPECT_EQ(schedule.removed_total(3), 1);
}

TEST_F(ScheduleTest, EarlyDropIsMissingFromItsOwnScale) {
  std::vector<Departure> departures(9, kStays);
  departures[0 * 3 + 2] = {.scale = 2, .after_layer = 0};
  departures[0 * 3 + 1] = {.scale = 2, .after_layer = 0};
  const EarlyDrop drop{
      .after_layer = 0, .source_scale = 1, .head = {.layer = 2, .head = 0}};
  const EarlyDrop other{
      .after_layer = 0, .source_scale = 1, .head = {.layer = 1, .head = 0}};
  const Schedule schedule = Make(departures, {{}, {}, {drop, other}, {}, {}});
  EXPECT_TRUE(schedule.IsRemoved(2, 1, {.layer = 2, .head = 0}));
  EXPECT_FALSE(schedule.IsRemoved(2, 1, {.layer = 0, .head = 0}));
  EXPECT_THAT(schedule.early_drops(2, 0), ElementsAre(drop, other));
  EXPECT_TRUE(schedule.early_drops(2, 1).empty());
  EXPECT_EQ(schedule.removed_total(2), 2);
  EXPECT_EQ(schedule.removed_total(3), 2);
}

TEST_F(ScheduleTest, SegmentThatLeavesInItsOwnScaleIsNeverKept) {
  std::vector<Departure> departures(9, kStays);
  departures[2 * 3 + 0] = {.scale = 3, .after_layer = 0};
  const Schedule schedule = Make(departures, {{}, {}, {}, {}, {}});
  EXPECT_FALSE(schedule.IsKeptAfter(3, 3, {.layer = 0, .head = 0}));
  EXPECT_TRUE(schedule.IsRemoved(4, 3, {.layer = 0, .head = 0}));
}

TEST_F(ScheduleTest, FullScheduleRemovesNothing) {
  const Schedule schedule = FullSchedule(InfinityLadder(), 2, 2);
  EXPECT_EQ(schedule.policy(), "full");
  EXPECT_EQ(schedule.budget(), Budget::Full());
  for (int t = 0; t < 13; ++t) {
    EXPECT_EQ(schedule.removed_total(t), 0);
    EXPECT_EQ(schedule.heads_dropped(t), 0);
  }
  EXPECT_TRUE(schedule.IsKeptAfter(11, 3, {.layer = 1, .head = 1}));
}

using ScheduleDeathTest = ScheduleTest;

TEST_F(ScheduleDeathTest, DepartureBeforeTheSegmentExistsIsABug) {
  std::vector<Departure> departures(9, kStays);
  departures[2 * 3 + 0] = {.scale = 2, .after_layer = 0};
  EXPECT_DEATH(Make(departures, {{}, {}, {}, {}, {}}),
               "source scale 3 leaves in scale 2");
}

TEST_F(ScheduleDeathTest, UnlistedEarlyDropIsABug) {
  std::vector<Departure> departures(9, kStays);
  departures[0 * 3 + 2] = {.scale = 2, .after_layer = 1};
  EXPECT_DEATH(Make(departures, {{}, {}, {}, {}, {}}), "listed once each");
}

TEST_F(ScheduleDeathTest, EarlyDropThatDisagreesWithItsDepartureIsABug) {
  const EarlyDrop drop{
      .after_layer = 0, .source_scale = 1, .head = {.layer = 2, .head = 0}};
  EXPECT_DEATH(
      Make(std::vector<Departure>(9, kStays), {{}, {}, {drop}, {}, {}}),
      "disagrees with its departure");
}

}  // namespace
}  // namespace heatkv::cache
