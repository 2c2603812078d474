// What happens to the others when the step of one image throws inside torch.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "model/infinity_backend.h"
#include "tests/model/cached_image.h"
#include "tests/model/random_model.h"

namespace heatkv::model {
namespace {

constexpr int kBlocks = 1000;
constexpr int kScales = 6;

struct Running {
  std::unique_ptr<ImageState> state;
  std::unique_ptr<cache::BlockLists> lists;
};

class InfinityBackendFaultTest : public testing::Test {
 protected:
  void SetUp() override {
    spec_ = WriteRandomModel(folder_, /*seed=*/5);
    auto model = InfinityBackend::Create(spec_, folder_.path(), {});
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    ASSERT_TRUE(model_->CreateArena(kBlocks).ok());
  }

  Running Start(std::uint64_t seed) {
    SamplingKnobs knobs;
    knobs.guidance.assign(kScales, 3.0f);
    knobs.tau.assign(kScales, 0.9f);
    knobs.seed = seed;
    auto state = model_->StartImage(*model_->EncodeText("a red fox"), 0, knobs);
    EXPECT_TRUE(state.ok()) << state.status();
    const auto trajectory = std::make_shared<const cache::Trajectory>(
        RandomSchedule(spec_.ladders[0].ladder, spec_.transformer.depth,
                       spec_.transformer.heads, /*budget=*/0.5, /*seed=*/3),
        model_->cache_geometry(), knobs.branches());
    return {.state = *std::move(state),
            .lists = std::make_unique<cache::BlockLists>(&pool_, trajectory)};
  }

  // One scale of all of them; the plan of the `broken`-th writes to a block that
  // the arena does not have.
  std::vector<absl::Status> Step(const std::vector<Running*>& images,
                                 int broken = -1) {
    std::vector<cache::StepPlan> plans;
    for (Running* image : images) {
      plans.push_back(image->lists->PlanStep(image->lists->next_scale()));
    }
    if (broken >= 0) {
      EXPECT_FALSE(plans[broken].store.empty());
      for (cache::BlockSpan& span : plans[broken].store) span.block += kBlocks;
    }
    std::vector<StepItem> items;
    for (std::size_t i = 0; i < images.size(); ++i) {
      items.push_back({.image = images[i]->state.get(), .plan = &plans[i]});
    }
    std::vector<absl::Status> statuses = model_->Step(items);
    for (Running* image : images) image->lists->FinishStep();
    return statuses;
  }

  const TemporaryFolder folder_;
  cache::BlockPool pool_{kBlocks};
  ModelSpec spec_;
  std::unique_ptr<ImageModel> model_;
};

TEST_F(InfinityBackendFaultTest, AStepThatThrowsEndsItsImageAlone) {
  Running alone = Start(1);
  for (int s = 0; s < kScales; ++s) ASSERT_TRUE(Step({&alone})[0].ok());
  const RgbImage picture = *model_->Decode(*alone.state);

  Running before = Start(1);
  Running broken = Start(2);
  Running after = Start(1);
  for (int s = 0; s < 3; ++s) {
    for (const absl::Status& status : Step({&before, &broken, &after})) {
      ASSERT_TRUE(status.ok()) << status;
    }
  }
  const std::vector<absl::Status> statuses =
      Step({&before, &broken, &after}, /*broken=*/1);
  EXPECT_TRUE(statuses[0].ok()) << statuses[0];
  EXPECT_EQ(statuses[1].code(), absl::StatusCode::kInternal) << statuses[1];
  EXPECT_THAT(statuses[1].message(), testing::HasSubstr("computing a scale"));
  EXPECT_TRUE(statuses[2].ok()) << statuses[2];
  broken = Running();
  for (int s = 4; s < kScales; ++s) Step({&before, &after});
  EXPECT_EQ(model_->Decode(*before.state)->pixels, picture.pixels);
  EXPECT_EQ(model_->Decode(*after.state)->pixels, picture.pixels);
}

}  // namespace
}  // namespace heatkv::model
