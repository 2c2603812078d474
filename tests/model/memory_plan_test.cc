// Bytes of a model's parts: against tensors that are really there, the counts
// of the official checkpoint, and what a GPU was seen to hold.

#include "model/memory_plan.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "model/infinity/transformer.h"
#include "model/vae/decoding_bytes.h"
#include "tests/model/infinity_2b.h"
#include "tests/model/random_model.h"

namespace heatkv::model {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr std::int64_t kGiB = std::int64_t{1} << 30;

std::int64_t BytesOf(const NamedTensors& tensors) {
  std::int64_t bytes = 0;
  for (const auto& [name, tensor] : tensors) bytes += tensor.nbytes();
  return bytes;
}

std::int64_t PartOf(const MemoryAccount& account, const std::string& name) {
  for (const MemoryPart& part : account.parts) {
    if (part.name == name) return part.bytes;
  }
  ADD_FAILURE() << "no part " << name;
  return 0;
}

TEST(MemoryPlanTest, CountsTheTensorsOfEveryPart) {
  TemporaryFolder folder;
  const ModelSpec spec = WriteRandomModel(folder, /*seed=*/1);
  EXPECT_EQ(TextEncoderBytes(spec.text_encoder, 4),
            BytesOf(RandomTextWeights(spec.text_encoder, 1)));
  EXPECT_EQ(VaeBytes(spec.vae, spec.transformer.bits, false),
            BytesOf(RandomVaeWeights(spec.vae, spec.transformer.bits, 1)));
  for (const int depth : {2, 3}) {
    TransformerSpec transformer = spec.transformer;
    transformer.depth = depth;
    transformer.mlp_width = 40;
    const std::int64_t width = transformer.width;
    // Zero biases of keys are made, but for the blocks stored here as well.
    const std::int64_t zeros = width + depth * width;
    const std::int64_t unconditional =
        depth * 2 * transformer.text_max_length * width;
    EXPECT_EQ(TransformerBytes(transformer, false),
              BytesOf(RandomTransformerWeights(transformer, 1)) +
                  4 * (zeros + unconditional));
  }
}

TEST(MemoryPlanTest, CountsTheOfficialParameters) {
  const ModelSpec spec = Infinity2b();
  const std::int64_t zeros = 2048 + 32 * 2 * 2048;
  const std::int64_t unconditional = std::int64_t{32} * 2 * 512 * 2048;
  EXPECT_EQ(TransformerBytes(spec.transformer, false),
            4 * (2204564032 + zeros + unconditional));
}

TEST(MemoryPlanTest, WeightsAreWhatAGpuWasSeenToHold) {
  const ModelSpec spec = Infinity2b();
  // What an H100 was seen to hold, less the work space of a library.  Doubling
  // convolutions had nine weights then instead of sixteen.
  const double seen =
      7270026752.0 - (32 << 20) + 2 * 7.0 * (3 * 512 * 512 + 256 * 256);
  EXPECT_NEAR(TransformerBytes(spec.transformer, true) +
                  TextEncoderBytes(spec.text_encoder, 2) +
                  VaeBytes(spec.vae, 32, true),
              seen, 0.001 * seen);
}

TEST(MemoryPlanTest, ADecodingInBandsTakesTwoImagesOfTheFinestLevel) {
  const VaeSpec vae = Infinity2b().vae;
  const std::int64_t image = 2 * 128 * 1024 * 1024;
  const std::int64_t whole = DecodingBytes(vae, {64, 64}, 0, true);
  const std::int64_t bands = DecodingBytes(vae, {64, 64}, 256, true);
  EXPECT_GE(whole, 4 * image);
  // Beside the two halos, and a band.
  const std::int64_t row = 2 * 128 * 1024;
  EXPECT_GE(bands, 2 * image + 2 * 15 * row + 66 * row);
  EXPECT_LE(bands, 590e6);
  EXPECT_LE(DecodingBytes(vae, {64, 64}, 512, true), 655e6);
  // Narrow bands are little more than their halos.  Those of one row can be no
  // smaller, and one band is the whole image.
  EXPECT_GT(DecodingBytes(vae, {64, 64}, 64, true), bands);
  EXPECT_EQ(DecodingBytes(vae, {64, 64}, 1, true),
            DecodingBytes(vae, {64, 64}, 32, true));
  EXPECT_EQ(DecodingBytes(vae, {64, 64}, 1024, true), whole);
  // Small images are not affected.
  EXPECT_EQ(DecodingBytes(vae, {16, 16}, 256, true),
            DecodingBytes(vae, {16, 16}, 0, true));
}

TEST(MemoryPlanTest, AStepHoldsWhatItsLargestMomentDoes) {
  const ModelSpec spec = Infinity2b();
  const std::int64_t rows = 2 * 64 * 64;
  const std::int64_t width = 2048;
  const std::int64_t staging = 2 * 16 * std::int64_t{10521} * 128 * 2 * 2;
  // The residual stream, queries, and the layer between two norms with one of
  // them; queries, keys and values with what attention makes of them are no
  // more.  And gaps.
  const std::int64_t step =
      staging +
      rows * (4 * width + 2 * (width + 8192 + width + 2 * width) + 2 * 32 * 4);
  const WorkPlan plan = PlanWork(spec, 512);
  EXPECT_EQ(plan.step, step);
  EXPECT_EQ(plan.decoding, DecodingBytes(spec.vae, {64, 64}, 512, true));
  EXPECT_GT(plan.arena(), plan.decoding);
  EXPECT_GT(PlanWork(spec, 0).arena(), plan.arena());
  const MemoryAccount account =
      PlanMemory(spec, {.is_on_gpu = true, .vae_tile = 512})[0];
  EXPECT_EQ(PartOf(account, "staging"), staging);
  EXPECT_EQ(PartOf(account, "staging") + PartOf(account, "activations"),
            plan.arena());
}

TEST(MemoryPlanTest, EveryRecordedStepOfEverySizeCounts) {
  const auto recorded = [](const ModelSpec& spec) {
    return PartOf(PlanMemory(spec, {.is_on_gpu = true})[0], "recorded steps");
  };
  const ModelSpec one = Infinity2b();
  // Thirteen scales with guidance and without, four and five of them also
  // alone.
  const std::int64_t kernels = 32 * 13 * 3584;
  EXPECT_EQ(recorded(one), 35 * kernels);
  ModelSpec more = one;
  // The beginning of the first, and one of its own.
  std::vector<cache::Grid> grids = one.ladders[0].ladder.grids();
  grids.resize(9);
  more.ladders.push_back(one.ladders[0]);
  more.ladders[1].ladder = *cache::ScaleLadder::Create(grids, 3);
  EXPECT_EQ(recorded(more), recorded(one));
  more.ladders[1].rope_grid = {70, 56};
  EXPECT_EQ(recorded(more), recorded(one) + 27 * kernels);
}

TEST(MemoryPlanTest, RecordedDecodingsTakeAPlaceAndKernelsOfEverySize) {
  const auto recorded = [](const ModelSpec& spec, int tile) {
    return PartOf(
        PlanMemory(spec,
                   {.device = "cuda", .is_on_gpu = true, .vae_tile = tile})[0],
        "recorded decodings");
  };
  const ModelSpec one = Infinity2b();
  const std::int64_t place = 20480 * std::int64_t{512} * 2;
  EXPECT_GT(recorded(one, 512), place + 5e6);
  EXPECT_LT(recorded(one, 512), place + 30e6);
  ModelSpec more = one;
  more.ladders.push_back(one.ladders[0]);
  EXPECT_EQ(recorded(more, 512), recorded(one, 512));
  std::vector<cache::Grid> grids = one.ladders[0].ladder.grids();
  grids.back() = {63, 64};
  more.ladders[1].ladder = *cache::ScaleLadder::Create(grids, 3);
  // Two blocks, two levels of three and doublings.
  EXPECT_EQ(recorded(more, 512), recorded(one, 512) + 10 * 12 * 3584);
  // One more level would be in bands.
  EXPECT_EQ(recorded(more, 100), recorded(one, 100) + 6 * 12 * 3584);
  EXPECT_LT(recorded(one, 100), recorded(one, 512));
}

TEST(MemoryPlanTest, ATextsBytesAreThoseOfItsTensors) {
  const TransformerSpec spec = SmallTransformerSpec();
  const auto transformer = RandomTransformer(spec, 1);
  for (const int tokens : {1, 5, 24}) {
    const TextCondition text =
        transformer->EncodeText(at::randn({tokens, spec.text_width}));
    std::int64_t bytes = text.pooled.nbytes() + text.block_modulation.nbytes() +
                         text.head_scale.nbytes() + text.head_shift.nbytes();
    for (const TextKeysValues& layer : text.layers) {
      bytes += layer.keys.nbytes() + layer.values.nbytes();
    }
    EXPECT_EQ(TextBytes(spec, tokens, false), bytes);
    EXPECT_EQ(text.bytes(), bytes);
  }
  EXPECT_NEAR(TextBytes(Infinity2b().transformer, 50, true), 50 * 0.262e6, 1e5);
}

TEST(MemoryPlanTest, TextsOfAStepAreNotCopied) {
  const ModelSpec spec = Infinity2b();
  for (const int images : {1, 16}) {
    const MemoryAccount account =
        PlanMemory(spec, {.is_on_gpu = true, .running_images = images})[0];
    EXPECT_EQ(PartOf(account, "modulations of a step"),
              32 * 8 * 2048 * std::int64_t{4});
  }
}

TEST(MemoryPlanTest, OneImageWithTheTextEncoderOnTheHostFitsEightGibibytes) {
  MemoryDemand demand = {.device = "cuda",
                         .is_on_gpu = true,
                         .text_encoder_on_device = false,
                         .host_text_bytes_per_value = 2,
                         .pool_bytes = std::int64_t{340} << 20,
                         .remembered_texts = 4,
                         .remembered_bytes = std::int64_t{32} << 20,
                         .running_images = 1,
                         .vae_tile = 256};
  auto accounts = PlanMemory(Infinity2b(), demand);
  ASSERT_EQ(accounts.size(), 2);
  // The rest is the driver's.
  accounts[0].available = 15 * kGiB / 2;
  EXPECT_TRUE(CheckFits(accounts[0]).ok()) << CheckFits(accounts[0]);
  EXPECT_EQ(accounts[1].parts.size(), 1);
  EXPECT_EQ(accounts[1].total(),
            TextEncoderBytes(Infinity2b().text_encoder, 2));

  demand.text_encoder_on_device = true;
  accounts = PlanMemory(Infinity2b(), demand);
  ASSERT_EQ(accounts.size(), 1);
  accounts[0].available = 8 * kGiB;
  EXPECT_FALSE(CheckFits(accounts[0]).ok());
}

TEST(MemoryPlanTest, WhatDependsOnTheDemandFollowsIt) {
  MemoryDemand demand = {.pool_bytes = 1000, .remembered_texts = 0};
  const ModelSpec spec = Infinity2b();
  const std::int64_t text = TextBytes(spec.transformer, 512, false);
  MemoryAccount account = PlanMemory(spec, demand)[0];
  EXPECT_EQ(PartOf(account, "block pool"), 1000);
  EXPECT_EQ(PartOf(account, "remembered prompts"), 0);
  const std::int64_t one = PartOf(account, "images in flight");
  EXPECT_GT(one, text);
  demand = {.remembered_texts = 3,
            .remembered_bytes = 100 * kGiB,
            .running_images = 7};
  account = PlanMemory(spec, demand)[0];
  EXPECT_EQ(PartOf(account, "remembered prompts"), 3 * text);
  EXPECT_EQ(PartOf(account, "images in flight"), 7 * one);
  demand.remembered_bytes = 12345;
  EXPECT_EQ(PartOf(PlanMemory(spec, demand)[0], "remembered prompts"), 12345);
}

TEST(MemoryPlanTest, LargerLaddersNeedMore) {
  ModelSpec small = Infinity2b();
  std::vector<cache::Grid> grids = small.ladders[0].ladder.grids();
  grids.resize(7);
  small.ladders[0].ladder = *cache::ScaleLadder::Create(grids, 3);
  for (const bool gpu : {false, true}) {
    const MemoryDemand demand = {.is_on_gpu = gpu};
    const MemoryAccount a = PlanMemory(small, demand)[0];
    const MemoryAccount b = PlanMemory(Infinity2b(), demand)[0];
    EXPECT_LT(PartOf(a, "staging"), PartOf(b, "staging"));
    EXPECT_LT(PartOf(a, "activations"), PartOf(b, "activations"));
    EXPECT_EQ(PartOf(a, "transformer"), PartOf(b, "transformer"));
  }
}

TEST(MemoryAccountTest, WhatDoesNotFitIsToldPartByPartWithBothTotals) {
  MemoryAccount account = {
      .device = "cuda:1",
      .available = 0,
      .parts = {{.name = "transformer", .bytes = 4 * kGiB, .is_loaded = true},
                {.name = "block pool", .bytes = kGiB / 2},
                {.name = "staging", .bytes = 512}}};
  const std::int64_t total = 4 * kGiB + kGiB / 2 + 512;
  EXPECT_EQ(account.total(), total);
  account.available = total + 1024;
  EXPECT_TRUE(CheckFits(account).ok());
  EXPECT_EQ(DescribeAccount(account),
            "memory of cuda:1: transformer 4.0 GiB, block pool 512.0 MiB, "
            "staging 512 B; left 1.0 KiB of 4.5 GiB");
  account.available = total;
  EXPECT_TRUE(CheckFits(account).ok());
  account.available = total - 1;
  EXPECT_THAT(DescribeAccount(account),
              HasSubstr("; 1 B more than the 4.5 GiB that are available"));
  const absl::Status status = CheckFits(account);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(),
            "the memory of cuda:1 does not suffice: 4831838720 bytes (4.5 GiB) "
            "are needed, but only 4831838719 (4.5 GiB) are available: "
            "transformer 4.0 GiB, block pool 512.0 MiB, staging 512 B");
}

TEST(MemoryAccountTest, AfterLoadingOnlyTheRestMustFit) {
  const MemoryAccount account = {
      .device = "cpu",
      .available = 0,
      .parts = {{.name = "transformer", .bytes = 4 * kGiB, .is_loaded = true},
                {.name = "block pool", .bytes = 1000}}};
  EXPECT_EQ(account.not_loaded(), 1000);
  EXPECT_TRUE(CheckRestFits(account, 1000).ok());
  EXPECT_THAT(
      std::string(CheckRestFits(account, 999).message()),
      AllOf(HasSubstr("1000 bytes"), HasSubstr("999"),
            HasSubstr("with the model loaded"), Not(HasSubstr("transformer"))));
}

}  // namespace
}  // namespace heatkv::model
