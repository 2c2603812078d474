// A model that computes nothing, for measuring what goes on around one: it
// takes the time between the end of a step and the beginning of the next, in
// which a GPU would wait for the engine to plan.

#ifndef BENCH_IDLE_MODEL_H_
#define BENCH_IDLE_MODEL_H_

#include <chrono>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "model/api/image_model.h"

namespace heatkv::server {

class IdleModel final : public model::ImageModel {
 public:
  // turns[scale] gets the milliseconds before each step of that scale that
  // follows another step directly.
  IdleModel(model::ModelSpec spec, std::vector<std::vector<double>>* turns)
      : spec_(std::move(spec)), turns_(turns) {}

  const model::ModelSpec& spec() const override { return spec_; }
  cache::CacheGeometry cache_geometry() const override;
  absl::Status CreateArena(std::int64_t) override { return absl::OkStatus(); }
  absl::StatusOr<int> CountTokens(std::string_view) const override { return 1; }
  absl::StatusOr<std::shared_ptr<const model::EncodedText>> EncodeText(
      std::string_view prompt) override;
  absl::StatusOr<std::unique_ptr<model::ImageState>> StartImage(
      std::shared_ptr<const model::EncodedText> text, int ladder,
      const model::SamplingKnobs& knobs) override;
  std::vector<absl::Status> Step(
      std::span<const model::StepItem> items) override;
  absl::StatusOr<model::RgbImage> Decode(
      const model::ImageState& image) override;

 private:
  using Clock = std::chrono::steady_clock;

  model::ModelSpec spec_;
  std::vector<std::vector<double>>* turns_;
  std::optional<Clock::time_point> step_end_;  // none after anything else
};

}  // namespace heatkv::server

#endif  // BENCH_IDLE_MODEL_H_
