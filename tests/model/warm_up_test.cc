#include "model/warm_up.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace heatkv::model {
namespace {

using testing::Each;
using testing::ElementsAre;

LadderSpec Ladder(cache::Grid rope_grid, std::vector<cache::Grid> grids) {
  return {.aspect = "",
          .pixel_class = "",
          .rope_grid = rope_grid,
          .ladder = *cache::ScaleLadder::Create(std::move(grids), 1)};
}

// Writes down what it is asked for: "ladder.scale.branches", and "!" for a
// decoding.
class Listener final : public ImageModel {
 public:
  explicit Listener(ModelSpec spec) : spec_(std::move(spec)) {}

  const ModelSpec& spec() const override { return spec_; }
  cache::CacheGeometry cache_geometry() const override {
    return {.layers = 1, .heads = 2, .head_width = 8, .bytes_per_value = 4};
  }
  absl::Status CreateArena(std::int64_t) override { return absl::OkStatus(); }
  absl::StatusOr<int> CountTokens(std::string_view) const override { return 1; }
  absl::StatusOr<std::shared_ptr<const EncodedText>> EncodeText(
      std::string_view) override {
    return nullptr;
  }
  absl::StatusOr<std::unique_ptr<ImageState>> StartImage(
      std::shared_ptr<const EncodedText>, int ladder,
      const SamplingKnobs& knobs) override {
    auto image = std::make_unique<Image>(&alive_);
    image->ladder = ladder;
    image->branches = knobs.branches();
    return image;
  }
  std::vector<absl::Status> Step(std::span<const StepItem> items) override {
    const auto* first = static_cast<Image*>(items[0].image);
    calls.push_back(
        absl::StrCat(first->ladder, ".", first->scale, ".", first->branches));
    for (const StepItem& item : items) {
      auto* image = static_cast<Image*>(item.image);
      EXPECT_EQ(item.plan->scale, image->scale);
      EXPECT_EQ(item.plan->branches, image->branches);
      EXPECT_TRUE(item.plan->store.empty());
      ++image->scale;
    }
    in_step.push_back(static_cast<int>(items.size()));
    in_flight.push_back(alive_);
    return std::vector<absl::Status>(
        items.size(),
        calls.back() == fails ? absl::InternalError(fails) : absl::OkStatus());
  }
  absl::StatusOr<RgbImage> Decode(const ImageState&) override {
    calls.push_back("!");
    return RgbImage();
  }

  std::vector<std::string> calls;
  std::string fails;
  // Images of each step, and how many there were meanwhile.
  std::vector<int> in_step;
  std::vector<int> in_flight;

 private:
  struct Image : ImageState {
    explicit Image(int* alive) : alive(alive) { ++*alive; }
    ~Image() override { --*alive; }
    int next_scale() const override { return scale; }
    int ladder = 0;
    int branches = 0;
    int scale = 0;
    int* alive;
  };
  ModelSpec spec_;
  int alive_ = 0;
};

TEST(WarmUpTest, LaddersThatAreTheBeginningOfAnotherAreLeftOut) {
  ModelSpec spec;
  const cache::Grid square = {4, 4};
  spec.ladders = {
      Ladder(square, {{1, 1}, {2, 2}}),          // a beginning
      Ladder(square, {{1, 1}, {2, 2}, {4, 4}}),  //
      Ladder({8, 4}, {{1, 1}, {2, 2}}),          // other positions
      Ladder(square, {{1, 1}, {3, 3}}),          // other sizes
      Ladder(square, {{1, 1}, {2, 2}, {4, 4}}),  // the same again
  };
  EXPECT_THAT(LaddersToWarm(spec), ElementsAre(1, 2, 3));
}

TEST(WarmUpTest, EveryLadderIsComputedWithGuidanceAndWithout) {
  ModelSpec spec;
  spec.ladders = {Ladder({2, 2}, {{1, 1}, {2, 2}}),
                  Ladder({3, 1}, {{1, 1}, {3, 1}})};
  Listener model(spec);
  int images = 0;
  const auto count = [&] { ++images; };
  ASSERT_TRUE(WarmUp(model, nullptr, {.ladders = {0, 1}}, count).ok());
  EXPECT_THAT(model.calls, ElementsAre("0.0.2", "0.1.2", "0.0.1", "0.1.1",
                                       "1.0.2", "1.1.2", "1.0.1", "1.1.1"));
  EXPECT_EQ(images, 4);
  // As previews with guidance, and as pictures.
  model.calls.clear();
  ASSERT_TRUE(
      WarmUp(model, nullptr, {.ladders = {1}, .decodes = true}, count).ok());
  EXPECT_THAT(model.calls,
              ElementsAre("1.0.2", "!", "1.1.2", "!", "1.0.1", "1.1.1", "!"));
}

TEST(WarmUpTest, ComputesNoScaleOfMoreRowsThanItMay) {
  ModelSpec spec;
  spec.ladders = {Ladder({3, 3}, {{1, 1}, {2, 2}, {3, 3}})};
  Listener model(spec);
  ASSERT_TRUE(WarmUp(model, nullptr, {.ladders = {0}, .most_rows = 8}).ok());
  EXPECT_THAT(model.calls, ElementsAre("0.0.2", "0.1.2", "0.0.1", "0.1.1"));
  model.calls.clear();
  ASSERT_TRUE(WarmUp(model, nullptr, {.ladders = {0}, .most_rows = 9}).ok());
  EXPECT_THAT(model.calls,
              ElementsAre("0.0.2", "0.1.2", "0.0.1", "0.1.1", "0.2.1"));
}

TEST(WarmUpTest, StepsOfFewRowsAreRecordedForImagesAloneToo) {
  ModelSpec spec;
  spec.ladders = {Ladder({2, 2}, {{1, 1}, {2, 2}}),
                  Ladder({8, 8}, {{1, 1}, {8, 8}})};
  Listener model(spec);
  std::vector<int> progress;
  ASSERT_TRUE(WarmUpRecorded(model, nullptr, {1}, [&](int done, int of) {
                EXPECT_EQ(of, 4);
                progress.push_back(done);
              }).ok());
  // With guidance the second scale has more than few rows.
  EXPECT_THAT(model.calls, ElementsAre("1.0.2", "1.0.1", "1.1.1", "1.0.2", "!",
                                       "1.1.2", "!", "1.0.1", "1.1.1", "!"));
  EXPECT_THAT(model.in_step, ElementsAre(1, 1, 1, 16, 2, 16, 4));
  EXPECT_THAT(progress, ElementsAre(1, 2, 3, 4));
  // Nobody need listen.
  EXPECT_TRUE(WarmUpRecorded(model, nullptr, {0}, nullptr).ok());
}

ModelSpec Spec() {
  ModelSpec spec;
  spec.group_rows = 64;
  spec.ladders.push_back(
      {.aspect = "1:1",
       .pixel_class = "x",
       .rope_grid = {8, 8},
       .ladder = cache::ScaleLadder::Create({{1, 1}, {2, 2}, {4, 4}, {8, 8}}, 1)
                     .value()});
  return spec;
}

TEST(WarmUpTest, CompanyFillsEveryGroupAndStaysToTheEnd) {
  Listener model(Spec());
  ASSERT_TRUE(WarmUp(model, nullptr,
                     {.ladders = {0}, .decodes = true, .has_company = true})
                  .ok());
  // 64 rows are 16 images at most, and half as many images with guidance.
  EXPECT_THAT(model.in_step, ElementsAre(16, 8, 2, 1, 16, 16, 4, 1));
  EXPECT_THAT(model.in_flight, Each(16));
  EXPECT_EQ(std::count(model.calls.begin(), model.calls.end(), "!"), 5);
}

TEST(WarmUpTest, AnImageMayBeAlone) {
  Listener model(Spec());
  ASSERT_TRUE(WarmUp(model, nullptr, {.ladders = {0}}).ok());
  EXPECT_THAT(model.in_step, Each(1));
  EXPECT_THAT(model.in_flight, Each(1));
}

TEST(WarmUpTest, FailsAsTheModelDoes) {
  ModelSpec spec;
  spec.ladders = {Ladder({2, 2}, {{1, 1}, {2, 2}})};
  Listener model(spec);
  model.fails = "0.0.1";
  EXPECT_EQ(WarmUp(model, nullptr, {.ladders = {0}}).message(), "0.0.1");
  EXPECT_EQ(model.calls.back(), "0.0.1");
}

}  // namespace
}  // namespace heatkv::model
