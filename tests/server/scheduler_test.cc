// The scheduler's decisions, one at a time, over hand-made trajectories.  Laws
// that hold for random traces are in scheduler_law_test.cc.

#include "server/engine/scheduler.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/engine_fixture.h"

namespace heatkv::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int kScales = 5;  // of both ladders of the fake model

class SchedulerTest : public testing::Test {
 protected:
  const cache::Trajectory& Full(int ladder = 0) {
    return *book_->plan(ladder, 0).guided;
  }

  // Room for `images` full images; groups of up to `group` images at the first
  // `grouped` scales.
  void Make(double images, SchedulingPolicy policy, int group = 4,
            int grouped = 3) {
    SchedulerOptions options;
    options.limit_blocks =
        static_cast<std::int64_t>(images * Full().peak_blocks());
    options.policy = policy;
    options_ = options;
    scheduler_ = std::make_unique<Scheduler>(
        options, [group, grouped](int, int scale, int) {
          return scale < grouped ? group : 1;
        });
  }

  ScheduledRequest Request(int images = 1, int ladder = 0,
                           std::vector<int> tiers = {0}) {
    ScheduledRequest request;
    request.number = next_++;
    request.ladder = ladder;
    request.images = images;
    request.arrived = now_;
    for (const int tier : tiers) {
      request.choices.push_back({tier, book_->plan(ladder, tier).guided});
    }
    return request;
  }

  std::uint64_t Enqueue(ScheduledRequest request) {
    const std::uint64_t number = request.number;
    scheduler_->Enqueue(std::move(request));
    return number;
  }

  // "1.0 2.0 @3": the images of the next turn and its scale; done at once.
  std::string Turn() {
    const auto turn = scheduler_->Next(now_);
    if (!turn.has_value()) return "nothing";
    std::string text;
    for (const ImageRef& ref : turn->group) {
      absl::StrAppend(&text, ref.request, ".", ref.image, " ");
      scheduler_->StepDone(ref);
    }
    EXPECT_LE(scheduler_->blocks_held(), scheduler_->EffectiveLimit());
    return absl::StrCat(text, "@", turn->scale);
  }

  std::shared_ptr<const ScheduleBook> book_ = MakeFakeBook();
  std::unique_ptr<Scheduler> scheduler_;
  SchedulerOptions options_;
  absl::Time now_ = absl::FromUnixSeconds(1000);
  std::uint64_t next_ = 1;
};

TEST_F(SchedulerTest, LatencyTakesAGroupThroughTheSmallScalesThenOneByOne) {
  Make(8, SchedulingPolicy::kLatency);
  for (int i = 0; i < 2; ++i) Enqueue(Request());
  EXPECT_EQ(Turn(), "1.0 2.0 @0");
  EXPECT_EQ(Turn(), "1.0 2.0 @1");
  EXPECT_EQ(Turn(), "1.0 2.0 @2");
  EXPECT_EQ(Turn(), "1.0 @3");
  EXPECT_EQ(Turn(), "1.0 @4");
  EXPECT_EQ(Turn(), "2.0 @3");
  EXPECT_EQ(Turn(), "2.0 @4");
  EXPECT_EQ(Turn(), "nothing");
  EXPECT_EQ(scheduler_->blocks_held(), 0);
  EXPECT_EQ(scheduler_->peak_sum_blocks(), 0);
}

TEST_F(SchedulerTest, LatencyLetsNewImagesInWhenNothingIsInFlight) {
  Make(8, SchedulingPolicy::kLatency);
  Enqueue(Request());
  EXPECT_EQ(Turn(), "1.0 @0");
  Enqueue(Request());
  for (int s = 1; s < kScales; ++s) {
    EXPECT_EQ(Turn(), absl::StrCat("1.0 @", s));
  }
  EXPECT_EQ(Turn(), "2.0 @0");
}

TEST_F(SchedulerTest, PreviewGivesEverybodyTheEarlyScalesFirst) {
  Make(8, SchedulingPolicy::kPreview);
  Enqueue(Request());
  EXPECT_EQ(Turn(), "1.0 @0");
  EXPECT_EQ(Turn(), "1.0 @1");
  Enqueue(Request());
  EXPECT_EQ(Turn(), "2.0 @0");
  EXPECT_EQ(Turn(), "2.0 @1");
  EXPECT_EQ(Turn(), "1.0 2.0 @2");
  EXPECT_EQ(Turn(), "1.0 @3");
  Enqueue(Request());
  EXPECT_EQ(Turn(), "3.0 @0");
  EXPECT_EQ(Turn(), "3.0 @1");
  EXPECT_EQ(Turn(), "3.0 @2");
  EXPECT_EQ(Turn(), "1.0 @4");
  EXPECT_EQ(Turn(), "2.0 @3");
}

TEST_F(SchedulerTest, AGroupIsNeverLargerThanItsCapacity) {
  Make(8, SchedulingPolicy::kLatency, /*group=*/2);
  Enqueue(Request(3));
  EXPECT_EQ(Turn(), "1.0 1.1 @0");
  for (int turns = 0; turns < 2 + 2 * 2; ++turns) Turn();
  EXPECT_EQ(Turn(), "1.2 @0");
}

TEST_F(SchedulerTest, AGroupIsOfOneLadderAndOneNumberOfBranches) {
  Make(8, SchedulingPolicy::kPreview);
  Enqueue(Request());
  Enqueue(Request(1, 1));
  ScheduledRequest unguided = Request();
  unguided.choices = {{0, book_->plan(0, 0).unguided}};
  Enqueue(std::move(unguided));
  Enqueue(Request());
  EXPECT_EQ(Turn(), "1.0 @0");
  EXPECT_EQ(Turn(), "2.0 @0");
  EXPECT_EQ(Turn(), "3.0 @0");
  EXPECT_EQ(Turn(), "4.0 @0");
  EXPECT_EQ(Turn(), "1.0 4.0 @1");
}

TEST_F(SchedulerTest, AGroupMayMixTiers) {
  Make(8, SchedulingPolicy::kPreview);
  Enqueue(Request(1, 0, {0}));
  Enqueue(Request(1, 0, {1}));
  EXPECT_EQ(Turn(), "1.0 2.0 @0");
  EXPECT_EQ(scheduler_->Choice(1).tier, 0);
  EXPECT_EQ(scheduler_->Choice(2).tier, 1);
}

TEST_F(SchedulerTest, StartsMoreThanTheSumOfPeaksAllowsAndStillFinishes) {
  Make(2, SchedulingPolicy::kPreview, /*group=*/8);
  for (int i = 0; i < 6; ++i) Enqueue(Request());
  EXPECT_EQ(Turn(), "1.0 2.0 3.0 4.0 5.0 6.0 @0");
  EXPECT_GT(scheduler_->peak_sum_blocks(), options_.limit_blocks);
  int turns = 0;
  while (Turn() != "nothing") ASSERT_LT(++turns, 100);
  EXPECT_EQ(scheduler_->blocks_held(), 0);
}

TEST_F(SchedulerTest, TheRuleOfPeaksStartsNoMoreThanFitAtTheirPeaks) {
  Make(2, SchedulingPolicy::kPreview, /*group=*/8);
  SchedulerOptions options = options_;
  options.rule = AdmissionRule::kSumOfPeaks;
  scheduler_->SetOptions(options);
  for (int i = 0; i < 6; ++i) Enqueue(Request());
  EXPECT_EQ(Turn(), "1.0 2.0 @0");
}

TEST_F(SchedulerTest, WhoMustWaitForRoomIsNotOvertakenByASmallerOne) {
  Make(1, SchedulingPolicy::kPreview, /*group=*/4, /*grouped=*/1);
  SchedulerOptions options = options_;
  options.rule = AdmissionRule::kSumOfPeaks;
  scheduler_->SetOptions(options);
  Enqueue(Request(1, 0, {1}));
  EXPECT_EQ(Turn(), "1.0 @0");
  Enqueue(Request(1, 0, {0}));
  Enqueue(Request(1, 0, {1}));
  for (int s = 1; s < kScales; ++s) {
    EXPECT_EQ(Turn(), absl::StrCat("1.0 @", s));
  }
  EXPECT_EQ(Turn(), "2.0 @0");
}

TEST_F(SchedulerTest, AHigherClassGoesFirstEvenInTheMiddleOfAnImage) {
  Make(8, SchedulingPolicy::kLatency);
  Enqueue(Request());
  for (int s = 0; s < 4; ++s) Turn();
  ScheduledRequest urgent = Request();
  urgent.priority = Priority::kHigh;
  Enqueue(std::move(urgent));
  for (int s = 0; s < kScales; ++s) {
    EXPECT_EQ(Turn(), absl::StrCat("2.0 @", s));
  }
  EXPECT_EQ(Turn(), "1.0 @4");
}

TEST_F(SchedulerTest, AgeLiftsWhatIsInFlightAsWell) {
  Make(8, SchedulingPolicy::kLatency);
  Enqueue(Request());
  for (int s = 0; s < 4; ++s) Turn();
  now_ += options_.queue.aging;
  ScheduledRequest urgent = Request();
  urgent.priority = Priority::kHigh;
  Enqueue(std::move(urgent));
  EXPECT_EQ(Turn(), "1.0 @4") << "has risen to the highest class";
}

TEST_F(SchedulerTest, GrantsTheLargestTierThatFitsIfItsClientAllows) {
  Make(1.6, SchedulingPolicy::kPreview);
  const std::int64_t half = book_->plan(0, 1).guided->peak_blocks();
  ASSERT_LE(half, 0.6 * Full().peak_blocks()) << "or the test shows nothing";
  Enqueue(Request(1, 0, {0, 1}));
  Enqueue(Request(1, 0, {0, 1}));
  Enqueue(Request(1, 0, {0}));
  while (scheduler_->running_images() < 3) ASSERT_NE(Turn(), "nothing");
  EXPECT_EQ(scheduler_->Choice(1).tier, 0) << "there is room";
  EXPECT_EQ(scheduler_->Choice(2).tier, 1) << "there is not, and it may";
  EXPECT_EQ(scheduler_->Choice(3).tier, 0) << "it may not";
}

TEST_F(SchedulerTest, ASmallerLimitComesIntoForceAsImagesFinish) {
  Make(3, SchedulingPolicy::kPreview, /*group=*/4, /*grouped=*/5);
  for (int i = 0; i < 3; ++i) Enqueue(Request());
  for (int turns = 0; turns < 4; ++turns) Turn();  // all before the last scale
  const std::int64_t held = scheduler_->blocks_held();
  SchedulerOptions options = options_;
  options.limit_blocks = Full().peak_blocks();
  ASSERT_GT(held, options.limit_blocks);
  scheduler_->SetOptions(options);
  Enqueue(Request());
  std::int64_t before = scheduler_->EffectiveLimit();
  EXPECT_GE(before, held);
  int turns = 0;
  while (scheduler_->EffectiveLimit() > options.limit_blocks) {
    EXPECT_THAT(Turn(), testing::Not(HasSubstr("4.0")));
    EXPECT_LE(scheduler_->EffectiveLimit(), before);
    before = scheduler_->EffectiveLimit();
    ASSERT_LT(++turns, 20);
  }
  while (Turn() != "nothing") ASSERT_LT(++turns, 40);
  EXPECT_EQ(scheduler_->blocks_held(), 0);
}

TEST_F(SchedulerTest, AHeldRequestStartsNoFurtherImage) {
  Make(8, SchedulingPolicy::kLatency, /*group=*/1);
  Enqueue(Request(2));
  Enqueue(Request());
  Turn();
  scheduler_->SetHeld(1, true);
  for (int s = 1; s < kScales; ++s) Turn();
  EXPECT_EQ(Turn(), "2.0 @0");
  for (int s = 1; s < kScales; ++s) Turn();
  EXPECT_EQ(Turn(), "nothing");
  scheduler_->SetHeld(1, false);
  EXPECT_EQ(Turn(), "1.1 @0");
}

TEST_F(SchedulerTest, SaysWhyARequestWouldNotStart) {
  Make(1, SchedulingPolicy::kPreview, /*group=*/1, /*grouped=*/5);
  std::string reason = "?";
  EXPECT_TRUE(scheduler_->WouldStartNow(Request(), now_, &reason));
  EXPECT_THAT(reason, IsEmpty());
  Enqueue(Request());
  EXPECT_FALSE(scheduler_->WouldStartNow(Request(), now_, &reason));
  EXPECT_THAT(reason, HasSubstr("1 requests wait"));
  for (int s = 0; s + 1 < kScales; ++s) Turn();
  EXPECT_FALSE(scheduler_->WouldStartNow(Request(), now_, &reason));
  EXPECT_THAT(reason,
              HasSubstr(absl::StrCat(Full().bytes(options_.limit_blocks))));
}

TEST_F(SchedulerTest, RemovingARequestInTheMiddleOfATurnLeavesTheOthers) {
  Make(8, SchedulingPolicy::kLatency);
  Enqueue(Request(2));
  Enqueue(Request());
  const auto turn = scheduler_->Next(now_);
  ASSERT_EQ(turn->group.size(), 3);
  scheduler_->RemoveRequest(1);
  scheduler_->StepDone({2, 0});
  EXPECT_EQ(Turn(), "2.0 @1");
  EXPECT_EQ(scheduler_->running_images(), 1);
  EXPECT_EQ(scheduler_->blocks_held(), Full().blocks_after(1));
}

}  // namespace
}  // namespace heatkv::server
