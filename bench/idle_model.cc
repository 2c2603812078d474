#include "bench/idle_model.h"

#include <cstdint>

#include "base/check.h"

namespace heatkv::server {
namespace {

class IdleText : public model::EncodedText {
 public:
  int tokens() const override { return 1; }
  std::int64_t bytes() const override { return 0; }
};

class IdleImage : public model::ImageState {
 public:
  int next_scale() const override { return next; }
  int next = 0;
};

}  // namespace

cache::CacheGeometry IdleModel::cache_geometry() const {
  return {.layers = spec_.transformer.depth,
          .heads = spec_.transformer.heads,
          .head_width = spec_.transformer.head_width(),
          .bytes_per_value = 2};
}

absl::StatusOr<std::shared_ptr<const model::EncodedText>> IdleModel::EncodeText(
    std::string_view) {
  step_end_.reset();
  return std::make_shared<const IdleText>();
}

absl::StatusOr<std::unique_ptr<model::ImageState>> IdleModel::StartImage(
    std::shared_ptr<const model::EncodedText>, int,
    const model::SamplingKnobs&) {
  step_end_.reset();
  return std::make_unique<IdleImage>();
}

std::vector<absl::Status> IdleModel::Step(
    std::span<const model::StepItem> items) {
  const Clock::time_point begin = Clock::now();
  const int scale = items[0].plan->scale;
  if (step_end_.has_value()) {
    (*turns_)[scale].push_back(
        std::chrono::duration<double, std::milli>(begin - *step_end_).count());
  }
  for (const model::StepItem& item : items) {
    auto* image = dynamic_cast<IdleImage*>(item.image);
    HEATKV_CHECK(image != nullptr);
    ++image->next;
  }
  step_end_ = Clock::now();
  return std::vector<absl::Status>(items.size());
}

absl::StatusOr<model::RgbImage> IdleModel::Decode(const model::ImageState&) {
  step_end_.reset();
  return model::RgbImage{.height = 1, .width = 1, .pixels = {0, 0, 0}};
}

}  // namespace heatkv::server
