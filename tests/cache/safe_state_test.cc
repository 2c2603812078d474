#include "cache/safe_state.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache/hand_trajectory.h"
#include "tests/cache/random_case.h"

namespace heatkv::cache {
namespace {

using Images = std::vector<ImageProgress>;

int Scales(const ImageProgress& image) {
  return image.trajectory->schedule()->ladder().num_scales();
}

std::int64_t SumHeld(const Images& images) {
  std::int64_t sum = 0;
  for (const ImageProgress& image : images) sum += image.blocks_held();
  return sum;
}

std::int64_t SumOfPeaks(const Images& images) {
  std::int64_t sum = 0;
  for (const ImageProgress& image : images) sum += image.peak_blocks();
  return sum;
}

// The least pool for which some order of steps, one image at a time, brings all
// to their ends: tries every order.
class EveryOrder {
 public:
  std::int64_t Capacity(const Images& images) {
    std::vector<int> state;
    for (const ImageProgress& image : images) state.push_back(image.next_scale);
    if (const auto found = known_.find(state); found != known_.end()) {
      return found->second;
    }
    std::int64_t best = -1;
    Images after = images;
    for (ImageProgress& image : after) {
      if (image.next_scale == Scales(image)) continue;
      const std::int64_t others = SumHeld(images) - image.blocks_held();
      const std::int64_t step =
          others + image.trajectory->blocks_peak(image.next_scale);
      ++image.next_scale;
      const std::int64_t whole = std::max(step, Capacity(after));
      --image.next_scale;
      if (best < 0 || whole < best) best = whole;
    }
    return known_[state] = std::max<std::int64_t>(best, 0);
  }

 private:
  std::map<std::vector<int>, std::int64_t> known_;
};

// Images somewhere on their ways, some perhaps done.
struct RandomState {
  RandomState(std::uint64_t seed, int most_images, int most_scales)
      : dice(seed) {
    const int count = dice.Int(1, most_images);
    for (int i = 0; i < count; ++i) {
      trajectories.push_back(RandomTrajectory(&dice, most_scales));
      ImageProgress image{trajectories.back().get(), 0};
      image.next_scale = dice.Int(0, Scales(image));
      images.push_back(image);
    }
  }

  Dice dice;
  std::vector<std::shared_ptr<const Trajectory>> trajectories;
  Images images;
};

TEST(SafeStateTest, CapacityIsTheLeastOverAllOrdersOfSteps) {
  int below_sum_of_peaks = 0;
  int rests_before_the_end = 0;
  for (int seed = 0; seed < 6000; ++seed) {
    RandomState s(seed, 4, 6);
    const std::int64_t least = EveryOrder().Capacity(s.images);
    ASSERT_EQ(SafeCapacity(s.images), least) << "seed " << seed;
    below_sum_of_peaks += least < SumOfPeaks(s.images);
    for (const ImageProgress& image : s.images) {
      const int scale = image.next_scale;
      rests_before_the_end +=
          scale > 0 && scale < Scales(image) &&
          image.trajectory->rest_scale(scale) < Scales(image);
    }
  }
  EXPECT_GT(below_sum_of_peaks, 2000);
  EXPECT_GT(rests_before_the_end, 2000);
}

TEST(SafeStateTest, MayStepAgreesWithEveryOrderForGroups) {
  int allowed = 0;
  int refused = 0;
  int refused_though_it_fits = 0;
  for (int seed = 0; seed < 6000; ++seed) {
    RandomState s(seed, 4, 5);
    std::vector<int> group;
    std::int64_t during = SumHeld(s.images);
    Images after = s.images;
    for (int i = static_cast<int>(s.images.size()) - 1; i >= 0; --i) {
      ImageProgress& image = after[i];
      if (image.next_scale == Scales(image) || s.dice.Int(0, 2) == 0) continue;
      group.push_back(i);
      during +=
          image.trajectory->blocks_peak(image.next_scale) - image.blocks_held();
      ++image.next_scale;
    }
    const std::int64_t needed = std::max(during, EveryOrder().Capacity(after));
    for (const std::int64_t limit :
         {needed - 1, needed, needed + 1, SumOfPeaks(s.images),
          static_cast<std::int64_t>(s.dice.Int(0, 40))}) {
      const bool expected = needed <= limit;
      ASSERT_EQ(MayStep(limit, s.images, group), expected)
          << "seed " << seed << ", limit " << limit;
      (expected ? allowed : refused) += 1;
      refused_though_it_fits += !expected && during <= limit;
    }
  }
  EXPECT_GT(allowed, 5000);
  EXPECT_GT(refused, 5000);
  EXPECT_GT(refused_though_it_fits, 1000);
}

TEST(SafeStateTest, LawsOfManyImagesAtOnce) {
  for (int seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RandomState s(seed, 80, 9);
    const std::int64_t capacity = SafeCapacity(s.images);
    EXPECT_LE(SumHeld(s.images), capacity);
    EXPECT_LE(capacity, SumOfPeaks(s.images));

    // The order of the images says nothing.
    Images shuffled = s.images;
    for (int i = static_cast<int>(shuffled.size()) - 1; i > 0; --i) {
      std::swap(shuffled[i], shuffled[s.dice.Int(0, i)]);
    }
    EXPECT_EQ(SafeCapacity(shuffled), capacity);

    // Without one of them the others need no more.
    shuffled.pop_back();
    EXPECT_LE(SafeCapacity(shuffled), capacity);
  }
}

// With exactly the capacity, whoever MayStep lets go, everybody gets through.
TEST(SafeStateTest, AnyOrderThatMayStepAllowsEndsWell) {
  for (int seed = 0; seed < 300; ++seed) {
    RandomState s(seed, 12, 8);
    const std::int64_t limit = SafeCapacity(s.images);
    std::vector<int> order(s.images.size());
    std::iota(order.begin(), order.end(), 0);
    while (SumOfPeaks(s.images) > 0) {
      std::swap(order[0],
                order[s.dice.Int(0, static_cast<int>(order.size()) - 1)]);
      const auto next = std::find_if(order.begin(), order.end(), [&](int i) {
        return s.images[i].next_scale < Scales(s.images[i]) &&
               MayStep(limit, s.images, std::vector<int>{i});
      });
      ASSERT_NE(next, order.end()) << "seed " << seed << ": nobody can go on";
      ImageProgress& image = s.images[*next];
      ASSERT_LE(SumHeld(s.images) - image.blocks_held() +
                    image.trajectory->blocks_peak(image.next_scale),
                limit);
      ++image.next_scale;
      ASSERT_LE(SafeCapacity(s.images), limit);
    }
  }
}

TEST(SafeStateTest, NobodyNeedsNothing) {
  EXPECT_EQ(SafeCapacity({}), 0);
  const auto t = HandTrajectory({1, 2, 2}, {9, 9, 9});
  EXPECT_EQ(SafeCapacity(Images{{t.get(), 3}, {t.get(), 3}}), 0);
  EXPECT_TRUE(MayStep(0, Images{{t.get(), 3}}, {}));
}

// Held 1, 5 (peak), 0: one after the other needs the other's 1 besides 5.
TEST(SafeStateTest, ImagesGoOneByOneThroughTheirPeaks) {
  const auto t = HandTrajectory({1, 4, 4}, {9, 9, 9});
  ASSERT_EQ(t->peak_blocks(), 5);
  const Images images = {{t.get(), 1}, {t.get(), 1}, {t.get(), 1}};
  EXPECT_EQ(SafeCapacity(images), 1 + 1 + 5);
  EXPECT_TRUE(MayStep(7, images, std::vector<int>{1}));
  EXPECT_FALSE(MayStep(7, images, std::vector<int>{0, 1}));
  EXPECT_TRUE(MayStep(11, images, std::vector<int>{2, 0}));
  EXPECT_FALSE(MayStep(10, images, std::vector<int>{2, 0}));
}

TEST(SafeStateDeathTest, ImageThatIsDoneCannotStep) {
  const auto t = HandTrajectory({1, 2, 2}, {9, 9, 9});
  const Images images = {{t.get(), 3}};
  EXPECT_DEATH((void)MayStep(9, images, std::vector<int>{0}), "num_scales");
}

}  // namespace
}  // namespace heatkv::cache
