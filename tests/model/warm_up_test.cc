#include "model/warm_up.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace heatkv::model {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

class Text : public EncodedText {
 public:
  int tokens() const override { return 1; }
  std::int64_t bytes() const override { return 0; }
};

class Image : public ImageState {
 public:
  Image(int* alive, int* scale) : alive_(alive), scale_(scale) { ++*alive_; }
  ~Image() override { --*alive_; }
  int next_scale() const override { return *scale_; }

 private:
  int* alive_;
  int* scale_;
};

// Notes how many images are in each step and how many there are meanwhile.
class NotingModel : public ImageModel {
 public:
  explicit NotingModel(ModelSpec spec) : spec_(std::move(spec)) {}

  const ModelSpec& spec() const override { return spec_; }
  cache::CacheGeometry cache_geometry() const override {
    return {.layers = 2, .heads = 3, .head_width = 8, .bytes_per_value = 2};
  }
  absl::Status CreateArena(std::int64_t) override { return absl::OkStatus(); }
  absl::StatusOr<int> CountTokens(std::string_view) const override { return 1; }
  absl::StatusOr<std::shared_ptr<const EncodedText>> EncodeText(
      std::string_view) override {
    return std::make_shared<const Text>();
  }
  absl::StatusOr<std::unique_ptr<ImageState>> StartImage(
      std::shared_ptr<const EncodedText>, int ladder,
      const SamplingKnobs& knobs) override {
    EXPECT_EQ(ladder, 0);
    branches = knobs.branches();
    scale_ = 0;
    return std::make_unique<Image>(&alive_, &scale_);
  }
  std::vector<absl::Status> Step(std::span<const StepItem> items) override {
    for (const StepItem& item : items) {
      EXPECT_EQ(item.plan->scale, scale_);
      EXPECT_EQ(item.plan->branches, branches);
      EXPECT_TRUE(item.plan->store.empty());
    }
    ++scale_;
    in_step.push_back(static_cast<int>(items.size()));
    in_flight.push_back(alive_);
    return std::vector<absl::Status>(items.size(), step_status);
  }
  absl::StatusOr<RgbImage> Decode(const ImageState& image) override {
    EXPECT_EQ(image.next_scale(), spec_.ladders[0].ladder.num_scales());
    ++decoded;
    return RgbImage();
  }

  absl::Status step_status;
  int branches = 0;
  int decoded = 0;
  std::vector<int> in_step;
  std::vector<int> in_flight;

 private:
  ModelSpec spec_;
  int alive_ = 0;
  int scale_ = 0;  // of the images of one pass
};

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

TEST(WarmUpTest, FillsEveryGroupAndKeepsAllImagesToTheEnd) {
  NotingModel model(Spec());
  ASSERT_TRUE(WarmUp(model, std::make_shared<const Text>(), 1000, true).ok());
  // 64 rows are 16 images at most, and half as many images with guidance.
  EXPECT_THAT(model.in_step, ElementsAre(16, 8, 2, 1, 16, 16, 4, 1));
  EXPECT_THAT(model.in_flight, Each(16));
  EXPECT_EQ(model.decoded, 2);
}

TEST(WarmUpTest, ComputesTheFirstScalesOfOneImageWhereItDecodesNone) {
  NotingModel model(Spec());
  ASSERT_TRUE(WarmUp(model, std::make_shared<const Text>(), 16, false).ok());
  EXPECT_THAT(model.in_step, ElementsAre(1, 1, 1, 1, 1, 1));
  EXPECT_EQ(model.decoded, 0);
}

TEST(WarmUpTest, FailsAsTheModelDoes) {
  NotingModel model(Spec());
  model.step_status = absl::InternalError("broken");
  const absl::Status status =
      WarmUp(model, std::make_shared<const Text>(), 1000, true);
  EXPECT_EQ(status.message(), "broken");
}

}  // namespace
}  // namespace heatkv::model
