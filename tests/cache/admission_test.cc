#include "cache/admission.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache/hand_trajectory.h"
#include "tests/cache/random_case.h"

namespace heatkv::cache {
namespace {

using Shared = std::shared_ptr<const Trajectory>;
using enum AdmissionVerdict;

// Held after each scale: 2, 10, 0.
Shared Climber() { return HandTrajectory({2, 8, 8}, {9, 9, 9}); }
// Held after each scale: 4, 4, 4, 0; never more.
Shared Level() { return HandTrajectory({4, 4, 4, 4}, {9, 1, 2, 9}); }
// Held after each scale: 1, 7, 1, 10, 0.
Shared TwoPeaks() { return HandTrajectory({1, 6, 6, 9, 9}, {9, 2, 2, 9, 9}); }

struct Running {
  Shared trajectory;
  int next_scale;
};

struct Case {
  std::string name;
  std::int64_t limit;
  std::vector<Running> running;
  Shared candidate;
  AdmissionVerdict by_safe_state;
  std::int64_t needed;
  AdmissionVerdict by_sum_of_peaks;
  std::int64_t sum_of_peaks;
};

std::vector<Case> Table() {
  const Shared climber = Climber(), level = Level(), two_peaks = TwoPeaks();
  const std::vector<Running> four_started = {
      {climber, 1}, {climber, 1}, {climber, 1}, {climber, 1}};
  const std::vector<Running> two_started = {{climber, 1}, {climber, 1}};
  const std::vector<Running> two_levels = {{level, 2}, {level, 1}};
  return {
      {"fills the empty pool", 10, {}, climber, kAdmit, 10, kAdmit, 10},
      {"one more than the empty pool", 9, {}, climber, kNever, 10, kNever, 10},
      {"never, busy or not", 9, {{level, 1}}, climber, kNever, 10, kNever, 10},
      // The 2 of the one that waits, while the other goes through its peak.
      {"peaks exceed the pool",
       12,
       {{climber, 1}},
       climber,  //
       kAdmit,
       12,
       kWait,
       20},
      {"peaks exceed the pool, one short",
       11,
       {{climber, 1}},
       climber,  //
       kWait,
       12,
       kWait,
       20},
      {"five where one and a half fit", 18, four_started, climber,  //
       kAdmit, 18, kWait, 50},
      {"five where one and a half fit, one short", 17, four_started, climber,
       kWait, 18, kWait, 50},
      // All hold 2 and would hold 6, but whoever goes on first needs 10.
      {"the first scale fits, and then a deadlock", 13, two_started, climber,
       kWait, 14, kWait, 30},
      // The other holds 10 and is the one that can finish.
      {"beside an image at its peak",
       12,
       {{climber, 2}},
       climber,  //
       kAdmit,
       12,
       kWait,
       20},
      {"beside an image at its peak, one short",
       11,
       {{climber, 2}},
       climber,
       kWait,
       12,
       kWait,
       20},
      {"level images add up", 12, two_levels, level, kAdmit, 12, kAdmit, 12},
      {"level images, one short", 11, two_levels, level, kWait, 12, kWait, 12},
      // The other goes on until it holds 1 and lets this one finish first.
      {"in the valley of another",
       11,
       {{two_peaks, 2}},
       climber,  //
       kAdmit,
       11,
       kWait,
       20},
      {"in the valley of another, one short",
       10,
       {{two_peaks, 2}},
       climber,
       kWait,
       11,
       kWait,
       20},
      {"images that are done hold nothing",
       10,
       {{climber, 3}, {level, 4}},
       climber,
       kAdmit,
       10,
       kAdmit,
       10},
      {"a lowered limit below what is held",
       15,
       {{climber, 2}, {climber, 2}},
       level,
       kWait,
       24,
       kWait,
       24},
      {"a lowered limit below what is to come", 11, two_started, level,  //
       kWait, 12, kWait, 24},
      {"an empty pool of no blocks", 0, {}, level, kNever, 4, kNever, 4},
  };
}

TEST(AdmissionTest, Table) {
  for (const Case& c : Table()) {
    SCOPED_TRACE(c.name);
    std::vector<ImageProgress> running;
    for (const Running& image : c.running) {
      running.push_back({image.trajectory.get(), image.next_scale});
    }
    const AdmissionDecision safe =
        DecideAdmission(c.limit, running, *c.candidate);
    EXPECT_EQ(safe.verdict, c.by_safe_state);
    EXPECT_EQ(safe.blocks_needed, c.needed);
    EXPECT_EQ(safe.blocks_available, c.limit);
    const AdmissionDecision sum =
        DecideAdmissionBySumOfPeaks(c.limit, running, *c.candidate);
    EXPECT_EQ(sum.verdict, c.by_sum_of_peaks);
    EXPECT_EQ(sum.blocks_needed, c.sum_of_peaks);
    EXPECT_EQ(sum.blocks_available, c.limit);
  }
}

TEST(AdmissionTest, AdmitsExactlyWhenTheFirstStepMayBeDone) {
  int admitted = 0;
  int only_by_safe_state = 0;
  for (int seed = 0; seed < 3000; ++seed) {
    Dice dice(seed);
    std::vector<Shared> trajectories;
    std::vector<ImageProgress> images;
    for (int i = dice.Int(0, 8); i >= 0; --i) {
      trajectories.push_back(RandomTrajectory(&dice, 7));
      const int scales = trajectories.back()->schedule()->ladder().num_scales();
      images.push_back({trajectories.back().get(), dice.Int(0, scales)});
    }
    images.back().next_scale = 0;
    const Trajectory& candidate = *images.back().trajectory;
    const std::span<const ImageProgress> running(images.data(),
                                                 images.size() - 1);
    const std::int64_t limit = SafeCapacity(running) + dice.Int(0, 4);
    const AdmissionDecision decision =
        DecideAdmission(limit, running, candidate);
    const int last = static_cast<int>(running.size());
    const bool may_step = MayStep(limit, images, std::vector<int>{last});
    ASSERT_EQ(decision.verdict == kAdmit, may_step) << "seed " << seed;
    ASSERT_EQ(decision.verdict == kNever, candidate.peak_blocks() > limit)
        << "seed " << seed;
    admitted += may_step;

    // Whom the sum of peaks lets in, the safe state does.
    const bool by_sum =
        DecideAdmissionBySumOfPeaks(limit, running, candidate).verdict ==
        kAdmit;
    ASSERT_LE(by_sum, may_step) << "seed " << seed;
    only_by_safe_state += may_step && !by_sum;

    // What it says is needed is enough, and no less is.
    if (decision.verdict != kNever) {
      EXPECT_EQ(
          DecideAdmission(decision.blocks_needed, running, candidate).verdict,
          kAdmit);
      EXPECT_NE(DecideAdmission(decision.blocks_needed - 1, running, candidate)
                    .verdict,
                kAdmit);
    }
  }
  EXPECT_GT(admitted, 1000);
  EXPECT_GT(only_by_safe_state, 500);
}

}  // namespace
}  // namespace heatkv::cache
