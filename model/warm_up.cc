#include "model/warm_up.h"

#include <algorithm>
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
                        int number, float guidance, const WarmUpWork& work) {
  const ModelSpec& spec = model.spec();
  const cache::ScaleLadder& ladder = spec.ladders[number].ladder;
  SamplingKnobs knobs;
  knobs.guidance.assign(ladder.num_scales(), guidance);
  knobs.tau.assign(ladder.num_scales(), 1.0f);
  const auto together = [&](int scale) {
    return work.has_company
               ? GroupCapacity(spec, number, scale, knobs.branches())
               : 1;
  };
  std::vector<std::unique_ptr<ImageState>> images;
  for (int i = 0; i < together(0); ++i) {
    ASSIGN_OR_RETURN(images.emplace_back(),
                     model.StartImage(text, number, knobs));
  }
  for (int scale = 0; scale < ladder.num_scales(); ++scale) {
    if (knobs.branches() * ladder.tokens(scale) > work.most_rows) break;
    const cache::StepPlan plan =
        EmptyPlan(model.cache_geometry(), scale, knobs.branches());
    std::vector<StepItem> items;
    for (int i = 0; i < together(scale); ++i) {
      items.push_back({.image = images[i].get(), .plan = &plan});
    }
    for (const absl::Status& status : model.Step(items)) {
      RETURN_IF_ERROR(status);
    }
    const bool is_last = scale + 1 == ladder.num_scales();
    if (work.decodes && (is_last || knobs.guided())) {
      RETURN_IF_ERROR(model.Decode(*images[0]).status());
    }
  }
  return absl::OkStatus();
}

// Whether every step of `ladder` is one of `other`.
bool IsBeginning(const LadderSpec& ladder, const LadderSpec& other) {
  const std::vector<cache::Grid> grids = ladder.ladder.grids();
  const std::vector<cache::Grid> others = other.ladder.grids();
  return ladder.rope_grid == other.rope_grid && grids.size() <= others.size() &&
         std::equal(grids.begin(), grids.end(), others.begin());
}

}  // namespace

std::vector<int> LaddersToWarm(const ModelSpec& spec) {
  std::vector<int> chosen;
  const int count = static_cast<int>(spec.ladders.size());
  for (int i = 0; i < count; ++i) {
    bool is_needed = true;
    for (int j = 0; j < count && is_needed; ++j) {
      if (i == j || !IsBeginning(spec.ladders[i], spec.ladders[j])) continue;
      // Of equal ones the first is computed.
      is_needed = i < j && IsBeginning(spec.ladders[j], spec.ladders[i]);
    }
    if (is_needed) chosen.push_back(i);
  }
  return chosen;
}

absl::Status WarmUp(ImageModel& model,
                    const std::shared_ptr<const EncodedText>& text,
                    const WarmUpWork& work,
                    const std::function<void()>& on_image) {
  for (const int ladder : work.ladders) {
    for (const float guidance : {2.0f, 1.0f}) {
      RETURN_IF_ERROR(MakeImages(model, text, ladder, guidance, work));
      on_image();
    }
  }
  return absl::OkStatus();
}

absl::Status WarmUpRecorded(ImageModel& model,
                            const std::shared_ptr<const EncodedText>& text,
                            const std::vector<int>& ladders,
                            const ImageModel::WarmUpProgress& progress) {
  // Twice with guidance and without.
  const int images = 4 * static_cast<int>(ladders.size());
  int done = 0;
  const auto on_image = [&] {
    ++done;
    if (progress != nullptr) progress(done, images);
  };
  RETURN_IF_ERROR(WarmUp(
      model, text, {.ladders = ladders, .most_rows = kFewRows}, on_image));
  return WarmUp(model, text,
                {.ladders = ladders, .decodes = true, .has_company = true},
                on_image);
}

}  // namespace heatkv::model
