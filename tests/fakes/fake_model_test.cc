#include "tests/fakes/fake_model.h"

#include "cache/block_lists.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv::model {
namespace {

class FakeModelTest : public testing::Test {
 protected:
  FakeModelTest() { EXPECT_TRUE(model_.CreateArena(1000).ok()); }

  static SamplingKnobs Knobs(std::uint64_t seed) {
    SamplingKnobs knobs;
    knobs.guidance.assign(5, 3.0f);
    knobs.tau.assign(5, 1.0f);
    knobs.seed = seed;
    return knobs;
  }

  std::unique_ptr<ImageState> Image(const std::string& prompt,
                                    std::uint64_t seed) {
    return *model_.StartImage(*model_.EncodeText(prompt), 0, Knobs(seed));
  }

  // The finished picture of an image that runs alone.
  RgbImage Make(const std::string& prompt, std::uint64_t seed) {
    cache::BlockPool pool(1000);
    const auto schedule = std::make_shared<const cache::Schedule>(
        cache::FullSchedule(model_.spec().ladders[0].ladder, 2, 2));
    const auto trajectory = std::make_shared<const cache::Trajectory>(
        schedule, model_.cache_geometry(), 2);
    cache::BlockLists lists(*pool.Reserve(trajectory->peak_blocks()),
                            trajectory);
    const auto image = Image(prompt, seed);
    for (int scale = 0; scale < 5; ++scale) {
      const cache::StepPlan plan = lists.PlanStep(scale);
      const StepItem item = {image.get(), &plan};
      EXPECT_TRUE(model_.Step({&item, 1}).ok());
      lists.FinishStep();
    }
    return *model_.Decode(*image);
  }

  std::shared_ptr<FakeModel::Script> script_ =
      std::make_shared<FakeModel::Script>();
  FakeModel model_{script_};
};

TEST_F(FakeModelTest, APictureIsItsPromptAndSeed) {
  const RgbImage picture = Make("cat", 1);
  EXPECT_EQ(picture.height, 24);
  EXPECT_EQ(picture.pixels.size(), 24 * 24 * 3);
  EXPECT_EQ(picture.pixels, Make("cat", 1).pixels);
  EXPECT_NE(picture.pixels, Make("cat", 2).pixels);
  EXPECT_NE(picture.pixels, Make("dog", 1).pixels);
}

TEST_F(FakeModelTest, CountsWhatIsAlive) {
  {
    const auto image = Image("cat", 1);
    EXPECT_EQ(script_->live_images, 1);
  }
  EXPECT_EQ(script_->live_images, 0);
  EXPECT_EQ(script_->encodings, 1);
}

TEST_F(FakeModelTest, AbortsOnAStepOutOfOrder) {
  const auto image = Image("cat", 1);
  cache::StepPlan plan;
  plan.scale = 1;
  plan.branches = 2;
  const StepItem item = {image.get(), &plan};
  EXPECT_DEATH((void)model_.Step({&item, 1}), "plan.scale == image.scale");
}

TEST_F(FakeModelTest, AbortsOnABlockInTwoHands) {
  const auto a = Image("a", 1);
  const auto b = Image("b", 1);
  cache::StepPlan plan;
  plan.branches = 2;
  plan.store = {{7, 0, 1}};
  const StepItem items[] = {{a.get(), &plan}, {b.get(), &plan}};
  EXPECT_DEATH((void)model_.Step(items), "block in two hands");
}

TEST_F(FakeModelTest, FailsWhereItsScriptSays) {
  script_->on_step = [](const std::string&, std::uint64_t, int) {
    return absl::InternalError("told to");
  };
  const auto image = Image("cat", 1);
  cache::StepPlan plan;
  plan.branches = 2;
  const StepItem item = {image.get(), &plan};
  EXPECT_EQ(model_.Step({&item, 1}).message(), "told to");
}

}  // namespace
}  // namespace heatkv::model
