#include "model/warm_up.h"

#include <vector>

#include "base/status_macros.h"

namespace heatkv::model {
namespace {

// Keeps nothing and reads nothing.
cache::StepPlan EmptyPlan(const cache::CacheGeometry& geometry, int scale,
                          int branches) {
  cache::StepPlan plan;
  plan.scale = scale;
  plan.branches = branches;
  plan.layers = geometry.layers;
  plan.heads = geometry.heads;
  plan.prefix_begin.assign(plan.rows() + 1, 0);
  plan.store_begin.assign(plan.rows() + 1, 0);
  return plan;
}

// As many of the images as run together at a scale compute it; the others stay
// behind, but stay.
absl::Status MakeImages(ImageModel& model,
                        const std::shared_ptr<const EncodedText>& text,
                        float guidance, std::int64_t most_tokens,
                        bool decodes) {
  constexpr int kLadder = 0;
  const ModelSpec& spec = model.spec();
  const cache::ScaleLadder& ladder = spec.ladders[kLadder].ladder;
  SamplingKnobs knobs;
  knobs.guidance.assign(ladder.num_scales(), guidance);
  knobs.tau.assign(ladder.num_scales(), 1.0f);
  const auto together = [&](int scale) {
    return decodes ? GroupCapacity(spec, kLadder, scale, knobs.branches()) : 1;
  };
  std::vector<std::unique_ptr<ImageState>> images;
  for (int i = 0; i < together(0); ++i) {
    ASSIGN_OR_RETURN(images.emplace_back(),
                     model.StartImage(text, kLadder, knobs));
  }
  for (int scale = 0; scale < ladder.num_scales(); ++scale) {
    if (ladder.tokens(scale) > most_tokens) break;
    const cache::StepPlan plan =
        EmptyPlan(model.cache_geometry(), scale, knobs.branches());
    std::vector<StepItem> items;
    for (int i = 0; i < together(scale); ++i) {
      items.push_back({.image = images[i].get(), .plan = &plan});
    }
    for (const absl::Status& status : model.Step(items)) {
      RETURN_IF_ERROR(status);
    }
  }
  return decodes ? model.Decode(*images[0]).status() : absl::OkStatus();
}

}  // namespace

absl::Status WarmUp(ImageModel& model,
                    const std::shared_ptr<const EncodedText>& text,
                    std::int64_t most_tokens, bool decodes) {
  for (const float guidance : {2.0f, 1.0f}) {
    RETURN_IF_ERROR(MakeImages(model, text, guidance, most_tokens, decodes));
  }
  return absl::OkStatus();
}

}  // namespace heatkv::model
