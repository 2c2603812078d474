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
    cache::BlockLists lists(&pool, trajectory);
    const auto image = Image(prompt, seed);
    for (int scale = 0; scale < 5; ++scale) {
      const cache::StepPlan plan = lists.PlanStep(scale);
      const StepItem item = {image.get(), &plan};
      EXPECT_TRUE(model_.Step({&item, 1})[0].ok());
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

TEST_F(FakeModelTest, AbortsOnAGroupLargerThanItsCapacity) {
  std::vector<std::unique_ptr<ImageState>> images;
  std::vector<StepItem> items;
  cache::StepPlan plan;
  plan.branches = 2;
  for (int i = 0; i < 17; ++i) {
    images.push_back(Image("cat", i));
    items.push_back({images.back().get(), &plan});
  }
  EXPECT_DEATH((void)model_.Step(items), "17");
}

TEST_F(FakeModelTest, ABlockThatSomebodyElseWroteIntoShowsInThePicture) {
  const auto picture = [this](bool is_disturbed) {
    const auto image = Image("cat", 1);
    cache::StepPlan store;
    store.branches = 2;
    store.layers = 1;
    store.heads = 1;
    store.store = {{3, 0, 1}};
    store.store_begin = {0, 1, 1};
    store.prefix_begin = {0, 0, 0};
    const StepItem first = {image.get(), &store};
    EXPECT_TRUE(model_.Step({&first, 1})[0].ok());
    if (is_disturbed) {
      const auto other = Image("dog", 1);
      const StepItem disturbs = {other.get(), &store};
      EXPECT_TRUE(model_.Step({&disturbs, 1})[0].ok());
    }
    cache::StepPlan read = store;
    read.scale = 1;
    read.store.clear();
    read.store_begin = {0, 0, 0};
    read.prefix = {{3, 0, 1}};
    read.prefix_begin = {0, 1, 1};
    const StepItem second = {image.get(), &read};
    EXPECT_TRUE(model_.Step({&second, 1})[0].ok());
    return model_.Decode(*image)->pixels;
  };
  EXPECT_EQ(picture(false), picture(false));
  EXPECT_NE(picture(false), picture(true));
}

TEST_F(FakeModelTest, FailsWhereItsScriptSaysAndOnlyThere) {
  script_->on_step = [](const std::string& prompt, std::uint64_t, int) {
    return prompt == "cat" ? absl::InternalError("told to") : absl::OkStatus();
  };
  const auto cat = Image("cat", 1);
  const auto dog = Image("dog", 1);
  cache::StepPlan plan;
  plan.branches = 2;
  const StepItem items[] = {{cat.get(), &plan}, {dog.get(), &plan}};
  const auto statuses = model_.Step(items);
  EXPECT_EQ(statuses[0].message(), "told to");
  EXPECT_TRUE(statuses[1].ok());
}

TEST_F(FakeModelTest, SpendsWhatItsScriptSaysThingsCost) {
  absl::Duration spent;
  script_->spend = [&spent](absl::Duration cost) { spent += cost; };
  script_->encode_cost = absl::Seconds(1);
  script_->decode_cost = absl::Seconds(100);
  script_->step_cost = [](int scale, int images) {
    return absl::Seconds(10 * (scale + images));
  };
  const auto image = Image("cat", 1);
  EXPECT_EQ(spent, absl::Seconds(1));
  cache::StepPlan plan;
  plan.branches = 2;
  const StepItem item = {image.get(), &plan};
  EXPECT_TRUE(model_.Step({&item, 1})[0].ok());
  EXPECT_EQ(spent, absl::Seconds(11));
  EXPECT_TRUE(model_.Decode(*image).ok());
  EXPECT_EQ(spent, absl::Seconds(111));
}

TEST_F(FakeModelTest, RunsOutOfDeviceMemory) {
  script_->image_bytes = 10;
  script_->device_bytes = 15;
  const auto image = Image("cat", 1);
  EXPECT_EQ(
      model_.StartImage(*model_.EncodeText("dog"), 0, Knobs(1)).status().code(),
      absl::StatusCode::kResourceExhausted);
  script_->step_bytes = 6;
  cache::StepPlan plan;
  plan.branches = 2;
  const StepItem item = {image.get(), &plan};
  EXPECT_EQ(model_.Step({&item, 1})[0].code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace heatkv::model
