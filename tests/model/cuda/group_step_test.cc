// A group on the GPU against the same images on the CPU in float32, with the
// CPU's bits forced upon both, so that rounding does not change the picture.

#include "model/cuda/group_step.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "cache/block_lists.h"
#include "cache/block_pool.h"
#include "model/cuda/kernel_calls.h"
#include "model/cuda/layer_products.h"
#include "model/cuda/staged_attention.h"
#include "model/infinity/bit_probabilities.h"
#include "model/infinity/reference_attention.h"
#include "model/kernels/few_rows_product.h"
#include "model/parity/golden_folder.h"
#include "tests/model/cached_image.h"
#include "tests/model/cuda/scribble.h"
#include "tests/model/random_model.h"

namespace heatkv::model {
namespace {

constexpr int kCapacity = 3;
// The number of an image whose text is not finite.
constexpr int kNotFinite = 3;

double RelativeError(const at::Tensor& mine, const at::Tensor& truth) {
  const at::Tensor a = mine.cpu().to(at::kDouble);
  const at::Tensor b = truth.cpu().to(at::kDouble);
  if (!a.isfinite().all().item<bool>()) return 1e30;
  return ((a - b).norm() / b.norm()).item<double>();
}

constexpr int kScales = 6;

// The first scales of the one ladder.
cache::ScaleLadder Ladder(int scales = kScales) {
  std::vector<cache::Grid> grids = {{1, 1}, {2, 2}, {3, 2},
                                    {5, 4}, {9, 7}, {12, 10}};
  grids.resize(scales);
  return *cache::ScaleLadder::Create(grids, /*sink_scales=*/2);
}

TransformerSpec Spec(int heads, int head_width) {
  TransformerSpec spec = SmallTransformerSpec();
  spec.depth = 3;
  spec.width = heads * head_width;
  spec.heads = heads;
  // What products of few rows want.
  spec.mlp_width = 128;
  return spec;
}

std::unique_ptr<InfinityTransformer> Load(const TransformerSpec& spec,
                                          const std::string& file,
                                          at::Device device) {
  auto weights = WeightStore::Open(
      {file}, {.device = device,
               .dtype = at::kFloat,
               .matrix_dtype = device.is_cpu() ? at::kFloat : at::kBFloat16});
  HEATKV_CHECK_OK(weights.status());
  auto model = InfinityTransformer::Load(spec, *std::move(weights));
  HEATKV_CHECK_OK(model.status());
  return *std::move(model);
}

ImageInFlight MakeImage(const InfinityTransformer& transformer, int number,
                        double guidance, int scales = kScales) {
  const int tokens = 5 + 2 * number;
  at::Tensor features = at::randn({tokens, transformer.spec().text_width},
                                  at::detail::createCPUGenerator(17 + number),
                                  at::TensorOptions(at::kFloat))
                            .to(transformer.device());
  if (number == kNotFinite) features.fill_(NAN);
  std::vector<std::shared_ptr<const TextCondition>> texts = {
      std::make_shared<const TextCondition>(transformer.EncodeText(features))};
  if (guidance != 1) {
    texts.push_back(std::make_shared<const TextCondition>(
        transformer.UnconditionalText(tokens)));
  }
  const cache::ScaleLadder ladder = Ladder(scales);
  return ImageInFlight(
      &transformer, texts,
      {.grids = ladder.grids(),
       .rope_grid = Ladder().grids().back(),
       .guidance = std::vector<double>(ladder.num_scales(), guidance),
       .tau = std::vector<double>(ladder.num_scales(), 0.7),
       .top_p = 0.97},
      std::make_unique<PhiloxBits>(3, number));
}

// Logits and bits of every scale of image `number` on the CPU.
std::vector<ImageInFlight::ScaleResult> OnCpu(
    const InfinityTransformer& transformer, int number, double guidance,
    double budget) {
  ImageInFlight image = MakeImage(transformer, number, guidance);
  const TransformerSpec& spec = transformer.spec();
  CachedImage cached(
      RandomSchedule(Ladder(), spec.depth, spec.heads, budget, 5 + number),
      spec.head_width(), image.branches());
  KeyValueArena arena(cached.blocks(), spec.head_width(), at::kFloat, at::kCPU);
  const ReferenceAttention attention;
  std::vector<ImageInFlight::ScaleResult> results;
  for (int scale = 0; scale < image.num_scales(); ++scale) {
    const cache::StepPlan plan = cached.lists().PlanStep(scale);
    auto result = image.Step(plan, attention, arena);
    HEATKV_CHECK_OK(result.status());
    results.push_back(*std::move(result));
    cached.lists().FinishStep();
  }
  return results;
}

// What a GPU's groups share from call to call.
struct OneGpu {
  explicit OneGpu(const InfinityTransformer& model,
                  AttentionChoice choice = AttentionChoice::kFastest)
      : transformer(model),
        arena(pool.capacity(), model.spec().head_width(), at::kBFloat16,
              model.device()),
        group(&model, &work) {
    group.set_attention(choice);
  }
  const InfinityTransformer& transformer;
  cache::BlockPool pool{20000};
  KeyValueArena arena;
  WorkArena work;
  GroupStep group;
};

// Logits [branches, tokens, 2 bits] of images `numbers` as one group, of each
// scale and image, with `forced` bits of each image and scale.
std::vector<std::vector<at::Tensor>> OnGpu(
    OneGpu& gpu, const std::vector<int>& numbers, double guidance,
    double budget,
    const std::vector<std::vector<ImageInFlight::ScaleResult>>& forced,
    int scales = kScales) {
  const InfinityTransformer& transformer = gpu.transformer;
  const TransformerSpec& spec = transformer.spec();
  std::vector<ImageInFlight> images;
  std::vector<std::unique_ptr<cache::BlockLists>> lists;
  for (const int number : numbers) {
    images.push_back(MakeImage(transformer, number, guidance, scales));
    const auto trajectory = std::make_shared<const cache::Trajectory>(
        RandomSchedule(Ladder(scales), spec.depth, spec.heads, budget,
                       5 + number),
        cache::CacheGeometry{.layers = spec.depth,
                             .heads = spec.heads,
                             .head_width = spec.head_width(),
                             .bytes_per_value = 2},
        images.back().branches());
    lists.push_back(std::make_unique<cache::BlockLists>(&gpu.pool, trajectory));
  }
  std::vector<std::vector<at::Tensor>> logits;
  for (int scale = 0; scale < scales; ++scale) {
    std::vector<cache::StepPlan> plans;
    for (auto& list : lists) plans.push_back(list->PlanStep(scale));
    std::vector<GroupMember> members;
    for (std::size_t i = 0; i < images.size(); ++i) {
      members.push_back({.image = &images[i],
                         .plan = &plans[i],
                         .seed = 3,
                         .number = static_cast<std::uint32_t>(numbers[i])});
    }
    const at::Tensor all = gpu.group.Logits(members, kCapacity, gpu.arena);
    const bool has_few_rows =
        ProductsFor(spec, images[0].branches() *
                              Ladder(scales).grids()[scale].tokens()) ==
        LayerProducts::kOfFewRows;
    EXPECT_EQ(all.size(0), has_few_rows && images.size() == 1 ? 1 : kCapacity);
    logits.emplace_back();
    for (std::size_t i = 0; i < images.size(); ++i) {
      logits.back().push_back(all[i].clone());
      images[i].Accept(forced[numbers[i]][scale].bits.to(transformer.device()));
      lists[i]->FinishStep();
    }
    Scribble(gpu.work);
  }
  return logits;
}

std::vector<std::vector<at::Tensor>> OnGpu(
    const InfinityTransformer& transformer, const std::vector<int>& numbers,
    double guidance, double budget,
    const std::vector<std::vector<ImageInFlight::ScaleResult>>& forced,
    AttentionChoice choice) {
  OneGpu gpu(transformer, choice);
  return OnGpu(gpu, numbers, guidance, budget, forced);
}

class GroupStepTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (CudaDevices() == 0) GTEST_SKIP() << "no CUDA device";
    const TransformerSpec spec = Spec(/*heads=*/4, /*head_width=*/GetParam());
    WriteSafetensors(folder_.File("w"), RandomTransformerWeights(spec, 23));
    cpu_ = Load(spec, folder_.File("w"), at::kCPU);
    gpu_ = Load(spec, folder_.File("w"), at::Device(at::kCUDA, 0));
  }
  const c10::InferenceMode inference_mode_;
  const TemporaryFolder folder_;
  std::unique_ptr<InfinityTransformer> cpu_;
  std::unique_ptr<InfinityTransformer> gpu_;
};

TEST_P(GroupStepTest, LogitsAreThoseOfTheCpuAndNotOfTheCompany) {
  // Whole widths of 64 have products of few rows.
  EXPECT_EQ(ProductsFor(gpu_->spec(), 2) == LayerProducts::kOfFewRows,
            GetParam() % 16 == 0 && kernels::CanMultiplyFewRows(64, 64));
  for (const double guidance : {3.0, 1.0}) {
    const double budget = 0.4;
    std::vector<std::vector<ImageInFlight::ScaleResult>> truth;
    for (int number = 0; number < 3; ++number) {
      truth.push_back(OnCpu(*cpu_, number, guidance, budget));
    }
    for (const AttentionChoice choice :
         {AttentionChoice::kFastest, AttentionChoice::kFlashAttention2,
          AttentionChoice::kShort}) {
      const auto run = [&](const std::vector<int>& numbers) {
        return OnGpu(*gpu_, numbers, guidance, budget, truth, choice);
      };
      const auto together = run({2, 0, 1});
      const auto alone = run({0});
      const auto pair = run({1, 0});
      double worst = 0;
      for (std::size_t scale = 0; scale < together.size(); ++scale) {
        for (int i = 0; i < 3; ++i) {
          const int number = (i + 2) % 3;
          const at::Tensor& expected = truth[number][scale].logits;
          worst = std::max(worst, RelativeError(together[scale][i].narrow(
                                                    0, 0, expected.size(0)),
                                                expected));
        }
        EXPECT_TRUE(at::equal(alone[scale][0], together[scale][1]));
        EXPECT_TRUE(at::equal(alone[scale][0], pair[scale][1]));
      }
      std::printf(
          "head width %d, guidance %g, attention %s: worst relative error "
          "%.2e\n",
          GetParam(), guidance, AbslUnparseFlag(choice).c_str(), worst);
      EXPECT_LT(worst, 3e-2);
    }
  }
}

TEST_P(GroupStepTest, ImageThatIsNotFiniteFailsAlone) {
  const double budget = 0.4;
  const double guidance = 3.0;
  std::vector<std::vector<ImageInFlight::ScaleResult>> truth;
  for (int number = 0; number < 2; ++number) {
    truth.push_back(OnCpu(*cpu_, number, guidance, budget));
  }
  // Bits to force upon the image that fails.
  truth.resize(kNotFinite, truth[1]);
  truth.push_back(truth[1]);
  for (const AttentionChoice choice :
       {AttentionChoice::kFastest, AttentionChoice::kFlashAttention2}) {
    const auto alone = OnGpu(*gpu_, {0}, guidance, budget, truth, choice);
    const auto company =
        OnGpu(*gpu_, {0, kNotFinite, 1}, guidance, budget, truth, choice);
    for (std::size_t scale = 0; scale < alone.size(); ++scale) {
      EXPECT_TRUE(at::equal(alone[scale][0], company[scale][0]));
      // The branch with the text.
      EXPECT_FALSE(company[scale][1][0].isfinite().any().item<bool>());
      EXPECT_TRUE(company[scale][2].isfinite().all().item<bool>());
    }
  }
}

// Texts, tables and recordings of one group stay for the next, which must not
// see anything of those before it.
TEST_P(GroupStepTest, LogitsAreNotOfTheGroupsThatCameBefore) {
  const double budget = 0.4;
  const double guidance = 3.0;
  std::vector<std::vector<ImageInFlight::ScaleResult>> truth;
  for (int number = 0; number < 3; ++number) {
    truth.push_back(OnCpu(*cpu_, number, guidance, budget));
  }
  OneGpu gpu(*gpu_);
  for (const std::vector<int>& numbers :
       {std::vector<int>{0}, {1}, {2, 0, 1}, {1, 0}, {0}, {2, 0, 1}}) {
    OneGpu fresh(*gpu_);
    const auto expected = OnGpu(fresh, numbers, guidance, budget, truth);
    const auto logits = OnGpu(gpu, numbers, guidance, budget, truth);
    for (std::size_t scale = 0; scale < logits.size(); ++scale) {
      for (std::size_t i = 0; i < numbers.size(); ++i) {
        EXPECT_TRUE(at::equal(logits[scale][i], expected[scale][i]))
            << "scale " << scale << ", image " << numbers[i] << " of "
            << numbers.size();
      }
    }
  }
}

// The last scale of one ladder, of which nothing is stored, may be an earlier
// one of another ladder.
TEST_P(GroupStepTest, LaddersOfDifferentLengthsShareNoRecording) {
  const double budget = 1;
  const double guidance = 3.0;
  const std::vector<std::vector<ImageInFlight::ScaleResult>> truth = {
      OnCpu(*cpu_, 0, guidance, budget)};
  OneGpu gpu(*gpu_);
  for (const int scales : {4, kScales, 4}) {
    OneGpu fresh(*gpu_);
    const auto expected = OnGpu(fresh, {0}, guidance, budget, truth, scales);
    const auto logits = OnGpu(gpu, {0}, guidance, budget, truth, scales);
    ASSERT_EQ(logits.size(), scales);
    for (int scale = 0; scale < scales; ++scale) {
      EXPECT_TRUE(at::equal(logits[scale][0], expected[scale][0]))
          << "scale " << scale << " of " << scales;
    }
  }
}

TEST_P(GroupStepTest, EqualLogitsGiveTheBitsOfTheCpu) {
  std::vector<ImageInFlight> images;
  std::vector<GroupMember> members;
  for (int number = 0; number < 2; ++number) {
    images.push_back(MakeImage(*gpu_, number, /*guidance=*/3.0));
  }
  for (std::uint32_t number = 0; number < 2; ++number) {
    members.push_back({.image = &images[number],
                       .seed = 0x123456789abcdefull,
                       .number = number});
  }
  const std::int64_t bits = 30;  // no multiple of four
  const at::Tensor logits =
      at::randn({2, 2, 1001, 2 * bits}, at::detail::createCPUGenerator(7),
                at::TensorOptions(at::kFloat)) *
      2;
  WorkArena work;
  const GroupStep group(gpu_.get(), &work);
  GroupStep::Sampled sampled = group.Sample(members, logits.to(at::kCUDA));
  for (int number = 0; number < 2; ++number) {
    PhiloxBits source(0x123456789abcdefull, number);
    const at::Tensor expected = source.Draw(
        0, BitProbabilities(GuidedLogits(logits[number], 3.0, 0.7), 0.97));
    EXPECT_TRUE(at::equal(sampled.bits[number].cpu(), expected));
    EXPECT_EQ(sampled.not_finite[number].item<int>(), 0);
  }
  at::Tensor broken = logits.clone();
  broken[1][0][5][3] = NAN;
  broken[1][1][9][0] = INFINITY;
  sampled = group.Sample(members, broken.to(at::kCUDA));
  EXPECT_EQ(sampled.not_finite[0].item<int>(), 0);
  EXPECT_EQ(sampled.not_finite[1].item<int>(), 2);
}

TEST(GroupStepShapeTest, WhatKernelsDoNotTakeIsRefusedWithBothNumbers) {
  TransformerSpec spec = Spec(/*heads=*/4, /*head_width=*/32);
  EXPECT_TRUE(GroupStep::CheckShape(spec).ok());
  spec.bits = 23;
  spec.patchify = true;
  EXPECT_EQ(GroupStep::CheckShape(spec).message(),
            "a GPU takes up to 88 bits a token; the model has 92");
  spec.bits = 22;
  EXPECT_TRUE(GroupStep::CheckShape(spec).ok());
}

INSTANTIATE_TEST_SUITE_P(HeadWidths, GroupStepTest,
                         testing::Values(8, 32, 64, 128));

TEST(GroupStepGoldenTest, LogitsAreThoseOfTheAuthorsImplementation) {
  if (CudaDevices() == 0) GTEST_SKIP() << "no CUDA device";
  const c10::InferenceMode inference_mode;
  const std::string path = "tests/golden/infinity-square";
  const auto folder = GoldenFolder::Open(path, /*with_vae=*/false);
  ASSERT_TRUE(folder.ok()) << folder.status();
  const auto weights = folder->TransformerWeights();
  ASSERT_TRUE(weights.ok()) << weights.status();
  const auto spec = folder->ReadTransformerSpec(*weights);
  ASSERT_TRUE(spec.ok()) << spec.status();
  const at::Device device(at::kCUDA, 0);
  const auto model = Load(*spec, path + "/infinity.safetensors", device);
  const GoldenFolder::Run& run = folder->run();
  const int text = run.text_lengths[0];
  const auto features = folder->Get("text_features", {text, spec->text_width});
  ASSERT_TRUE(features.ok()) << features.status();
  ImageInFlight image(
      model.get(),
      {std::make_shared<const TextCondition>(
           model->EncodeText(features->to(device, at::kFloat))),
       std::make_shared<const TextCondition>(model->UnconditionalText(text))},
      {.grids = run.grids,
       .rope_grid = run.rope_grid,
       .guidance = run.guidance,
       .tau = run.tau,
       .top_p = run.top_p},
      nullptr);
  const auto ladder = cache::ScaleLadder::Create(run.grids, /*sink_scales=*/3);
  ASSERT_TRUE(ladder.ok());
  const cache::CacheGeometry geometry{.layers = spec->depth,
                                      .heads = spec->heads,
                                      .head_width = spec->head_width(),
                                      .bytes_per_value = 2};
  const auto trajectory = std::make_shared<const cache::Trajectory>(
      std::make_shared<const cache::Schedule>(
          cache::FullSchedule(*ladder, spec->depth, spec->heads)),
      geometry, 2);
  cache::BlockPool pool(trajectory->peak_blocks());
  cache::BlockLists lists(&pool, trajectory);
  KeyValueArena arena(pool.capacity(), spec->head_width(), at::kBFloat16,
                      device);
  WorkArena work;
  GroupStep group(model.get(), &work);
  for (int scale = 0; scale < static_cast<int>(run.grids.size()); ++scale) {
    const std::int64_t tokens = run.grids[scale].tokens();
    const cache::StepPlan plan = lists.PlanStep(scale);
    const GroupMember member{.image = &image, .plan = &plan};
    const at::Tensor logits = group.Logits({&member, 1}, 1, arena)[0];
    const std::string prefix = "scale0" + std::to_string(scale);
    const auto expected = folder->Get(prefix + ".logits_raw",
                                      {2, tokens, 2 * spec->bits_per_token()});
    const auto bits =
        folder->Get(prefix + ".bits", {tokens, spec->bits_per_token()});
    ASSERT_TRUE(expected.ok() && bits.ok());
    const double error = RelativeError(logits, *expected);
    std::printf("golden scale %d: relative error of logits %.2e\n", scale,
                error);
    EXPECT_LT(error, 3e-2);
    image.Accept(bits->to(device).to(at::kBool));
    lists.FinishStep();
  }
}

}  // namespace
}  // namespace heatkv::model
