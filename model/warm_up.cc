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

absl::Status MakeImage(ImageModel& model,
                       const std::shared_ptr<const EncodedText>& text,
                       float guidance, std::int64_t most_tokens, bool decodes) {
  constexpr int kLadder = 0;
  const cache::ScaleLadder& ladder = model.spec().ladders[kLadder].ladder;
  SamplingKnobs knobs;
  knobs.guidance.assign(ladder.num_scales(), guidance);
  knobs.tau.assign(ladder.num_scales(), 1.0f);
  ASSIGN_OR_RETURN(const std::unique_ptr<ImageState> image,
                   model.StartImage(text, kLadder, knobs));
  for (int scale = 0; scale < ladder.num_scales(); ++scale) {
    if (ladder.tokens(scale) > most_tokens) break;
    const cache::StepPlan plan =
        EmptyPlan(model.cache_geometry(), scale, knobs.branches());
    const StepItem item = {.image = image.get(), .plan = &plan};
    RETURN_IF_ERROR(model.Step({&item, 1})[0]);
  }
  return decodes ? model.Decode(*image).status() : absl::OkStatus();
}

}  // namespace

absl::Status WarmUp(ImageModel& model,
                    const std::shared_ptr<const EncodedText>& text,
                    std::int64_t most_tokens, bool decodes) {
  for (const float guidance : {2.0f, 1.0f}) {
    RETURN_IF_ERROR(MakeImage(model, text, guidance, most_tokens, decodes));
  }
  return absl::OkStatus();
}

}  // namespace heatkv::model
