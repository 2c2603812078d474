#include "model/infinity_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/warm_up.h"
#include "tests/model/cached_image.h"
#include "tests/model/random_model.h"

namespace heatkv::model {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// One image with its block lists in a pool that it shares with others.
struct Running {
  std::unique_ptr<ImageState> state;
  std::unique_ptr<cache::BlockLists> lists;
};

class InfinityBackendTest : public testing::Test {
 protected:
  void SetUp() override {
    spec_ = WriteRandomModel(folder_, /*seed=*/5);
    auto model = InfinityBackend::Create(spec_, folder_.path(), {});
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    ASSERT_TRUE(model_->CreateArena(pool_.capacity()).ok());
  }

  SamplingKnobs Knobs(std::uint64_t seed, float guidance = 3.0f) const {
    SamplingKnobs knobs;
    knobs.guidance.assign(6, guidance);
    knobs.tau.assign(6, 0.9f);
    knobs.seed = seed;
    return knobs;
  }

  Running Start(const std::string& prompt, int ladder,
                const SamplingKnobs& knobs, double budget = 0.5) {
    auto text = model_->EncodeText(prompt);
    EXPECT_TRUE(text.ok()) << text.status();
    auto state = model_->StartImage(*text, ladder, knobs);
    EXPECT_TRUE(state.ok()) << state.status();
    const auto trajectory = std::make_shared<const cache::Trajectory>(
        RandomSchedule(spec_.ladders[ladder].ladder, spec_.transformer.depth,
                       spec_.transformer.heads, budget, /*seed=*/3),
        model_->cache_geometry(), knobs.branches());
    return {.state = *std::move(state),
            .lists = std::make_unique<cache::BlockLists>(&pool_, trajectory)};
  }

  // One scale of all images in one call.
  absl::Status Step(const std::vector<Running*>& images) {
    std::vector<cache::StepPlan> plans;
    for (Running* image : images) {
      plans.push_back(image->lists->PlanStep(image->state->next_scale()));
    }
    std::vector<StepItem> items;
    for (std::size_t i = 0; i < images.size(); ++i) {
      items.push_back({.image = images[i]->state.get(), .plan = &plans[i]});
    }
    const std::vector<absl::Status> statuses = model_->Step(items);
    for (Running* image : images) image->lists->FinishStep();
    EXPECT_EQ(statuses.size(), items.size());
    absl::Status status;
    for (const absl::Status& one : statuses) status.Update(one);
    return status;
  }

  RgbImage Finish(const std::vector<Running*>& images) {
    for (int scale = 0; scale < 6; ++scale) {
      const absl::Status status = Step(images);
      EXPECT_TRUE(status.ok()) << status;
    }
    auto image = model_->Decode(*images[0]->state);
    EXPECT_TRUE(image.ok()) << image.status();
    return *std::move(image);
  }

  const TemporaryFolder folder_;
  cache::BlockPool pool_{5000};
  ModelSpec spec_;
  std::unique_ptr<ImageModel> model_;
};

TEST_F(InfinityBackendTest, MakesAPictureOfTheLaddersSize) {
  Running image = Start("a red fox", /*ladder=*/1, Knobs(1));
  EXPECT_EQ(image.state->next_scale(), 0);
  const RgbImage picture = Finish({&image});
  EXPECT_EQ(image.state->next_scale(), 6);
  EXPECT_EQ(picture.height, 12);  // two pixels a token
  EXPECT_EQ(picture.width, 8);
  EXPECT_EQ(picture.pixels.size(), 12 * 8 * 3);
}

TEST_F(InfinityBackendTest, TheSameRecipeGivesTheSamePixels) {
  Running first = Start("a red fox", 0, Knobs(1));
  const RgbImage picture = Finish({&first});
  Running second = Start("a red fox", 0, Knobs(1));
  EXPECT_EQ(Finish({&second}).pixels, picture.pixels);
  Running other_seed = Start("a red fox", 0, Knobs(2));
  EXPECT_NE(Finish({&other_seed}).pixels, picture.pixels);
  Running other_prompt = Start("a blue boat at sea", 0, Knobs(1));
  EXPECT_NE(Finish({&other_prompt}).pixels, picture.pixels);
  SamplingKnobs second_image = Knobs(1);
  second_image.image = 1;
  Running other_image = Start("a red fox", 0, second_image);
  EXPECT_NE(Finish({&other_image}).pixels, picture.pixels);
}

TEST_F(InfinityBackendTest, WarmingUpChangesNoPicture) {
  Running cold = Start("a red fox", 0, Knobs(1));
  const RgbImage picture = Finish({&cold});
  ASSERT_TRUE(model_->WarmUp().ok()) << model_->WarmUp();
  Running warm = Start("a red fox", 0, Knobs(1));
  EXPECT_EQ(Finish({&warm}).pixels, picture.pixels);
}

TEST_F(InfinityBackendTest, WarmingUpComputesUnlessTheOptionsForbid) {
  // Without an arena nothing can be computed.
  using Sizes = InfinityBackend::Options::WarmUp;
  for (const Sizes warm_up : {Sizes::kAll, Sizes::kFirst, Sizes::kNone}) {
    auto other =
        InfinityBackend::Create(spec_, folder_.path(), {.warm_up = warm_up});
    ASSERT_TRUE(other.ok()) << other.status();
    EXPECT_EQ((*other)->WarmUp().ok(), warm_up == Sizes::kNone);
  }
}

// What a GPU does: all scales, and the pictures.
TEST_F(InfinityBackendTest, AWholeWarmUpTouchesNoBlock) {
  Running running = Start("a red fox", 0, Knobs(1));
  Running again = Start("a red fox", 0, Knobs(1));
  const RgbImage picture = Finish({&again});
  for (int scale = 0; scale < 6; ++scale) {
    ASSERT_TRUE(Step({&running}).ok());
    int images = 0;
    const absl::Status status = WarmUp(
        *model_, *model_->EncodeText("x"),
        {.ladders = LaddersToWarm(spec_), .decodes = true}, [&] { ++images; });
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(images, 2 * LaddersToWarm(spec_).size());
  }
  EXPECT_EQ(model_->Decode(*running.state)->pixels, picture.pixels);
}

TEST_F(InfinityBackendTest, WhereTheTextEncoderIsChangesNothingOnOneDevice) {
  Running here = Start("a red fox", 0, Knobs(1));
  const RgbImage picture = Finish({&here});
  auto other = InfinityBackend::Create(spec_, folder_.path(),
                                       {.text_encoder_on_cpu = true});
  ASSERT_TRUE(other.ok()) << other.status();
  std::swap(model_, *other);
  ASSERT_TRUE(model_->CreateArena(pool_.capacity()).ok());
  Running there = Start("a red fox", 0, Knobs(1));
  EXPECT_EQ(Finish({&there}).pixels, picture.pixels);
}

TEST_F(InfinityBackendTest, AnImageDoesNotDependOnItsCompany) {
  Running alone = Start("a red fox", 0, Knobs(1));
  const RgbImage picture = Finish({&alone});
  // Other prompt, length and schedule.
  Running image = Start("a red fox", 0, Knobs(1));
  Running company = Start("a lighthouse", 0, Knobs(9), 0.9);
  EXPECT_EQ(Finish({&image, &company}).pixels, picture.pixels);
  Running later = Start("a red fox", 0, Knobs(1));
  Running before = Start("a boat", 0, Knobs(4), 0.3);
  for (int scale = 0; scale < 6; ++scale) {
    ASSERT_TRUE(Step({&before, &later}).ok());
  }
  EXPECT_EQ(model_->Decode(*later.state)->pixels, picture.pixels);
}

TEST_F(InfinityBackendTest, UnguidedImagesHaveOneBranch) {
  Running image = Start("a red fox", 0, Knobs(1, 1.0f));
  const cache::StepPlan plan = image.lists->PlanStep(0);
  EXPECT_EQ(plan.branches, 1);
  const StepItem item = {.image = image.state.get(), .plan = &plan};
  EXPECT_TRUE(model_->Step({&item, 1})[0].ok());
}

TEST_F(InfinityBackendTest, PreviewsAreDecodedFromTheFirstScaleOn) {
  Running image = Start("a red fox", 0, Knobs(1));
  EXPECT_EQ(model_->Decode(*image.state).status().code(),
            absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(Step({&image}).ok());
  const auto preview = model_->Decode(*image.state);
  ASSERT_TRUE(preview.ok()) << preview.status();
}

TEST_F(InfinityBackendTest, PreviewsAreAsLargeAsTheirScale) {
  constexpr int kPixelsAToken = 2;
  for (int ladder = 0; ladder < 2; ++ladder) {
    Running image = Start("a red fox", ladder, Knobs(1));
    for (const cache::Grid& grid : spec_.ladders[ladder].ladder.grids()) {
      ASSERT_TRUE(Step({&image}).ok());
      const auto shown = model_->Decode(*image.state);
      ASSERT_TRUE(shown.ok()) << shown.status();
      EXPECT_EQ(shown->height, kPixelsAToken * grid.height);
      EXPECT_EQ(shown->width, kPixelsAToken * grid.width);
    }
  }
}

TEST_F(InfinityBackendTest, ABFloat16CacheHalvesTheBytes) {
  EXPECT_EQ(model_->cache_geometry().bytes_per_value, 4);
  const auto small = InfinityBackend::Create(
      spec_, folder_.path(),
      {.cache_dtype = InfinityBackend::CacheDtype::kBFloat16});
  ASSERT_TRUE(small.ok()) << small.status();
  EXPECT_EQ((*small)->cache_geometry().bytes_per_value, 2);
  EXPECT_EQ((*small)->cache_geometry().layers, 2);
  EXPECT_EQ((*small)->cache_geometry().heads, 2);
  EXPECT_EQ((*small)->cache_geometry().head_width, 8);
}

TEST_F(InfinityBackendTest, CountsTokensWithTheEndOfSequence) {
  EXPECT_EQ(*model_->CountTokens(""), 1);
  const auto text = model_->EncodeText("a red fox");
  EXPECT_EQ((*text)->tokens(), *model_->CountTokens("a red fox"));
}

TEST_F(InfinityBackendTest, RefusesAPromptThatIsTooLong) {
  const std::string prompt =
      "one two three four five six seven eight nine ten "
      "eleven twelve thirteen";
  EXPECT_GT(*model_->CountTokens(prompt), 24);
  const auto text = model_->EncodeText(prompt);
  EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(text.status().message(), HasSubstr("at most 24"));
}

TEST_F(InfinityBackendTest, RefusesKnobsThatDoNotFit) {
  const auto text = *model_->EncodeText("a red fox");
  const auto message = [&](int ladder, const SamplingKnobs& knobs) {
    const auto status = model_->StartImage(text, ladder, knobs).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message(2, Knobs(1)), HasSubstr("no ladder 2"));
  SamplingKnobs knobs = Knobs(1);
  knobs.guidance.pop_back();
  EXPECT_THAT(message(0, knobs),
              AllOf(HasSubstr("guidance has 5"), HasSubstr("6 scales")));
  knobs = Knobs(1);
  knobs.tau[3] = 0;
  EXPECT_THAT(message(0, knobs), HasSubstr("tau"));
  knobs = Knobs(1);
  knobs.top_p = 0;
  EXPECT_THAT(message(0, knobs), HasSubstr("top_p"));
}

TEST_F(InfinityBackendTest, AnArenaLargerThanMemoryIsRefusedWithBothNumbers) {
  const auto other = InfinityBackend::Create(spec_, folder_.path(), {});
  ASSERT_TRUE(other.ok());
  const absl::Status status = (*other)->CreateArena(std::int64_t{1} << 40);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  // 2^40 blocks of 2 * 16 * 8 floats.
  EXPECT_THAT(status.message(), AllOf(HasSubstr("1099511627776 blocks"),
                                      HasSubstr("1125899906842624 bytes")));
}

TEST_F(InfinityBackendTest, StepsNeedAnArena) {
  auto other = InfinityBackend::Create(spec_, folder_.path(), {});
  ASSERT_TRUE(other.ok());
  std::swap(model_, *other);
  Running image = Start("a red fox", 0, Knobs(1));
  EXPECT_EQ(Step({&image}).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(InfinityBackendTest, RefusesASpecThatTheFilesDoNotFit) {
  ModelSpec spec = spec_;
  spec.transformer.mlp_width = 48;
  EXPECT_THAT(
      InfinityBackend::Create(spec, folder_.path(), {}).status().message(),
      AllOf(HasSubstr("infinity.safetensors"),
            HasSubstr("block_chunks.0.module.0.ffn.fc1.weight"),
            HasSubstr("[32, 16], expected [48, 16]")));
  spec = spec_;
  spec.vae.files = {"nothing.safetensors"};
  EXPECT_THAT(
      InfinityBackend::Create(spec, folder_.path(), {}).status().message(),
      HasSubstr("nothing.safetensors"));
  spec = spec_;
  spec.text_encoder.vocabulary = 20;
  EXPECT_THAT(
      InfinityBackend::Create(spec, folder_.path(), {}).status().message(),
      HasSubstr("text_encoder.vocabulary is 20"));
}

TEST_F(InfinityBackendTest, RefusesASpecThatContradictsItself) {
  ModelSpec spec = spec_;
  spec.transformer.heads = 3;
  EXPECT_THAT(
      InfinityBackend::Create(spec, folder_.path(), {}).status().message(),
      AllOf(HasSubstr("width 16"), HasSubstr("heads 3")));
  spec = spec_;
  spec.tokenizer.max_length = 25;
  EXPECT_THAT(
      InfinityBackend::Create(spec, folder_.path(), {}).status().message(),
      AllOf(HasSubstr("25"), HasSubstr("text_max_length is 24")));
  spec = spec_;
  spec.transformer.level_embeddings = 5;
  EXPECT_THAT(
      InfinityBackend::Create(spec, folder_.path(), {}).status().message(),
      AllOf(HasSubstr("6 scales"), HasSubstr("level_embeddings is 5")));
}

TEST_F(InfinityBackendTest, AStepThatThrowsEndsItsImageAlone) {
  Running alone = Start("a red fox", 0, Knobs(1));
  const RgbImage picture = Finish({&alone});
  Running before = Start("a red fox", 0, Knobs(1));
  Running broken = Start("a red fox", 0, Knobs(2));
  Running after = Start("a red fox", 0, Knobs(1));
  for (int scale = 0; scale < 3; ++scale) {
    ASSERT_TRUE(Step({&before, &broken, &after}).ok());
  }
  std::vector<cache::StepPlan> plans;
  std::vector<StepItem> items;
  plans.reserve(3);
  for (Running* image : {&before, &broken, &after}) {
    plans.push_back(image->lists->PlanStep(3));
    items.push_back({.image = image->state.get(), .plan = &plans.back()});
  }
  // To blocks that the arena does not have.
  ASSERT_FALSE(plans[1].store.empty());
  for (cache::BlockSpan& span : plans[1].store) span.block += pool_.capacity();
  const std::vector<absl::Status> statuses = model_->Step(items);
  ASSERT_EQ(statuses.size(), 3);
  EXPECT_TRUE(statuses[0].ok()) << statuses[0];
  EXPECT_EQ(statuses[1].code(), absl::StatusCode::kInternal) << statuses[1];
  EXPECT_THAT(statuses[1].message(), HasSubstr("computing a scale"));
  EXPECT_TRUE(statuses[2].ok()) << statuses[2];
  for (Running* image : {&before, &broken, &after}) image->lists->FinishStep();
  broken = Running();
  for (int scale = 4; scale < 6; ++scale) {
    ASSERT_TRUE(Step({&before, &after}).ok());
  }
  EXPECT_EQ(model_->Decode(*before.state)->pixels, picture.pixels);
  EXPECT_EQ(model_->Decode(*after.state)->pixels, picture.pixels);
}

TEST_F(InfinityBackendTest, RefusesADeviceThatThisBuildLacks) {
  const auto status =
      InfinityBackend::Create(spec_, folder_.path(), {.device = "cuda"})
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("'cuda'"));
  EXPECT_FALSE(
      InfinityBackend::Create(spec_, folder_.path(), {.device = "abacus"})
          .ok());
}

}  // namespace
}  // namespace heatkv::model
