#include "model/infinity/image_in_flight.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <vector>

#include "model/infinity/reference_attention.h"
#include "tests/model/cached_image.h"
#include "tests/model/masked_attention.h"
#include "tests/model/random_model.h"

namespace heatkv::model {
namespace {

cache::ScaleLadder Ladder() {
  return *cache::ScaleLadder::Create(
      {{1, 1}, {2, 2}, {3, 2}, {4, 3}, {5, 4}, {6, 5}}, /*sink_scales=*/2);
}

TransformerSpec FourHeads() {
  TransformerSpec spec = SmallTransformerSpec();
  spec.depth = 3;
  spec.width = 32;
  spec.heads = 4;
  return spec;
}

ImageInFlight MakeImage(const InfinityTransformer& transformer,
                        double guidance) {
  const at::Tensor features = at::randn({5, transformer.spec().text_width},
                                        at::detail::createCPUGenerator(17),
                                        at::TensorOptions(at::kFloat));
  std::vector<std::shared_ptr<const TextCondition>> texts = {
      std::make_shared<const TextCondition>(transformer.EncodeText(features))};
  if (guidance != 1) {
    texts.push_back(std::make_shared<const TextCondition>(
        transformer.UnconditionalText(5)));
  }
  const cache::ScaleLadder ladder = Ladder();
  return ImageInFlight(
      &transformer, texts,
      {.grids = ladder.grids(),
       .rope_grid = ladder.grids().back(),
       .guidance = std::vector<double>(ladder.num_scales(), guidance),
       .tau = std::vector<double>(ladder.num_scales(), 1.0),
       .top_p = 0.97},
      std::make_unique<PhiloxBits>(3, 0));
}

// Runs all scales and returns what each came to.
std::vector<ImageInFlight::ScaleResult> RunScales(
    const InfinityTransformer& transformer, ImageInFlight image,
    std::shared_ptr<const cache::Schedule> schedule,
    const RaggedAttention& attention) {
  const int head_width = transformer.spec().head_width();
  CachedImage cached(schedule, head_width, image.branches());
  KeyValueArena arena(cached.blocks(), head_width, at::kFloat, at::kCPU);
  std::vector<ImageInFlight::ScaleResult> results;
  for (int scale = 0; scale < image.num_scales(); ++scale) {
    auto result = image.Step(cached.lists().PlanStep(scale), attention, arena);
    EXPECT_TRUE(result.ok()) << result.status();
    cached.lists().FinishStep();
    results.push_back(*std::move(result));
  }
  return results;
}

TEST(ImageInFlightTest, UnderAScheduleEqualsDenseAttentionWithAMask) {
  const auto transformer = RandomTransformer(FourHeads(), /*seed=*/1);
  for (std::uint32_t seed = 0; seed < 6; ++seed) {
    const auto schedule =
        RandomSchedule(Ladder(), 3, 4, 0.2 + 0.1 * seed, seed);
    const double guidance = seed % 2 == 0 ? 3.0 : 1.0;
    const auto mine = RunScales(*transformer, MakeImage(*transformer, guidance),
                                schedule, ReferenceAttention());
    const auto truth =
        RunScales(*transformer, MakeImage(*transformer, guidance), schedule,
                  MaskedAttention(schedule));
    for (std::size_t s = 0; s < mine.size(); ++s) {
      EXPECT_TRUE(at::equal(mine[s].bits, truth[s].bits)) << s;
      EXPECT_LT((mine[s].logits - truth[s].logits).abs().max().item<double>() /
                    truth[s].logits.abs().max().item<double>(),
                1e-5)
          << "seed " << seed << ", scale " << s;
    }
  }
}

TEST(ImageInFlightTest, AScheduleThatDropsChangesTheLogits) {
  const auto transformer = RandomTransformer(FourHeads(), /*seed=*/1);
  const auto full = RunScales(*transformer, MakeImage(*transformer, 1.0),
                              std::make_shared<const cache::Schedule>(
                                  cache::FullSchedule(Ladder(), 3, 4)),
                              ReferenceAttention());
  const auto dropped =
      RunScales(*transformer, MakeImage(*transformer, 1.0),
                RandomSchedule(Ladder(), 3, 4, 0.2, 0), ReferenceAttention());
  // The first scales are sinks; nothing can be missing there.
  EXPECT_TRUE(at::equal(full[1].logits, dropped[1].logits));
  EXPECT_FALSE(at::allclose(full[5].logits, dropped[5].logits));
}

TEST(ImageInFlightTest, GuidanceOfOneAtAScaleUsesConditionalLogitsOnly) {
  const auto transformer = RandomTransformer(FourHeads(), /*seed=*/2);
  const auto schedule = std::make_shared<const cache::Schedule>(
      cache::FullSchedule(Ladder(), 3, 4));
  const auto unguided = RunScales(*transformer, MakeImage(*transformer, 1.0),
                                  schedule, ReferenceAttention());
  const auto guided = RunScales(*transformer, MakeImage(*transformer, 2.0),
                                schedule, ReferenceAttention());
  EXPECT_EQ(unguided[0].logits.size(0), 1);
  EXPECT_EQ(guided[0].logits.size(0), 2);
  // The first scale has no history: the conditional row is the same.
  EXPECT_TRUE(
      at::allclose(unguided[0].logits[0], guided[0].logits[0], 1e-5, 1e-6));
}

TEST(ImageInFlightTest, SaysAtWhichScaleLogitsAreNotFinite) {
  NamedTensors weights = RandomTransformerWeights(FourHeads(), 3);
  weights["lvl_embed.weight"][2].fill_(std::numeric_limits<float>::quiet_NaN());
  const TemporaryFolder folder;
  WriteSafetensors(folder.File("w"), weights);
  const auto transformer = InfinityTransformer::Load(
      FourHeads(), *WeightStore::Open({folder.File("w")}, {}));
  ASSERT_TRUE(transformer.ok()) << transformer.status();
  ImageInFlight image = MakeImage(**transformer, 1.0);
  CachedImage cached(std::make_shared<const cache::Schedule>(
                         cache::FullSchedule(Ladder(), 3, 4)),
                     8, 1);
  KeyValueArena arena(cached.blocks(), 8, at::kFloat, at::kCPU);
  for (int scale = 0; scale < 2; ++scale) {
    ASSERT_TRUE(
        image.Step(cached.lists().PlanStep(scale), ReferenceAttention(), arena)
            .ok());
    cached.lists().FinishStep();
  }
  const auto failed =
      image.Step(cached.lists().PlanStep(2), ReferenceAttention(), arena);
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(failed.status().message(),
            "scale 2: 48 of 48 logits are not finite");
}

}  // namespace
}  // namespace heatkv::model
