#include "model/infinity/reference_attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <memory>

#include "cache/schedule.h"
#include "model/infinity/key_value_arena.h"
#include "model/infinity/step_slots.h"
#include "tests/model/cached_image.h"
#include "tests/model/masked_attention.h"

namespace heatkv::model {
namespace {

constexpr int kLayers = 3;
constexpr int kHeads = 4;
constexpr int kHeadWidth = 8;

cache::ScaleLadder Ladder() {
  return *cache::ScaleLadder::Create(
      {{1, 1}, {2, 2}, {3, 2}, {4, 3}, {5, 4}, {6, 5}, {7, 7}},
      /*sink_scales=*/2);
}

// Largest difference between the arena's attention and the masked dense one,
// over all layers and scales of one image with random inputs.
double LargestDifference(std::shared_ptr<const cache::Schedule> schedule,
                         int branches, at::ScalarType cache_dtype) {
  CachedImage image(schedule, kHeadWidth, branches);
  KeyValueArena arena(image.blocks(), kHeadWidth, cache_dtype, at::kCPU);
  const ReferenceAttention attention;
  const MaskedAttention truth(schedule);
  double largest = 0;
  for (int scale = 0; scale < schedule->ladder().num_scales(); ++scale) {
    const std::int64_t tokens = schedule->ladder().tokens(scale);
    const StepSlots slots =
        MakeStepSlots(image.lists().PlanStep(scale), tokens, at::kCPU);
    for (int layer = 0; layer < kLayers; ++layer) {
      const auto random = [&] {
        return at::randn({branches, kHeads, tokens, kHeadWidth});
      };
      const at::Tensor q = random();
      const at::Tensor k = random();
      const at::Tensor v = random();
      const at::Tensor mine =
          attention.Attend(slots.layers[layer], q, k, v, arena);
      arena.Store(slots.layers[layer].stored, k, v);
      const at::Tensor dense =
          truth.Attend(slots.layers[layer], q, k, v, arena);
      largest = std::max(largest, (mine - dense).abs().max().item<double>());
    }
    image.lists().FinishStep();
  }
  return largest;
}

TEST(ReferenceAttentionTest, EqualsDenseAttentionWithDroppedKeysMasked) {
  at::manual_seed(1);
  for (std::uint32_t seed = 0; seed < 12; ++seed) {
    for (const double budget : {0.15, 0.3, 0.6, 0.95}) {
      EXPECT_LT(LargestDifference(
                    RandomSchedule(Ladder(), kLayers, kHeads, budget, seed),
                    /*branches=*/1 + seed % 2, at::kFloat),
                1e-5)
          << "seed " << seed << ", budget " << budget;
    }
  }
}

TEST(ReferenceAttentionTest, EqualsDenseAttentionWhenNothingIsDropped) {
  at::manual_seed(2);
  EXPECT_LT(
      LargestDifference(std::make_shared<const cache::Schedule>(
                            cache::FullSchedule(Ladder(), kLayers, kHeads)),
                        /*branches=*/2, at::kFloat),
      1e-5);
}

TEST(ReferenceAttentionTest, ABFloat16CacheRoundsOnlyThePrefix) {
  at::manual_seed(3);
  const double difference =
      LargestDifference(RandomSchedule(Ladder(), kLayers, kHeads, 0.5, 1),
                        /*branches=*/2, at::kBFloat16);
  EXPECT_GT(difference, 1e-5);  // it is in use
  EXPECT_LT(difference, 3e-2);  // and has eight bits
}

}  // namespace
}  // namespace heatkv::model
