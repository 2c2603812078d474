#include "model/infinity/image_in_flight.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/infinity/bit_probabilities.h"
#include "model/infinity/rope2d.h"

namespace heatkv::model {

ImageInFlight::ImageInFlight(
    const InfinityTransformer* transformer,
    std::vector<std::shared_ptr<const TextCondition>> texts, Options options,
    std::unique_ptr<BitSource> bits)
    : transformer_(transformer),
      texts_(std::move(texts)),
      options_(std::move(options)),
      bits_(std::move(bits)),
      canvas_(options_.grids.back(), transformer->spec().bits,
              transformer->spec().patchify, transformer->device()) {
  HEATKV_CHECK_EQ(options_.guidance.size(), options_.grids.size());
  HEATKV_CHECK_EQ(options_.tau.size(), options_.grids.size());
  bool guided = false;
  for (const double guidance : options_.guidance) guided |= guidance != 1.0;
  HEATKV_CHECK_EQ(texts_.size(), guided ? 2 : 1);
  for (const auto& text : texts_) text_views_.push_back(text.get());
}

at::Tensor ImageInFlight::Input() const {
  return next_scale_ == 0 ? transformer_->FirstInput(text_views_)
                          : transformer_->NextInput(codes_, branches());
}

void ImageInFlight::Accept(const at::Tensor& bits) {
  canvas_.Add(bits, options_.grids[next_scale_]);
  ++next_scale_;
  codes_ = next_scale_ < num_scales()
               ? canvas_.InputFor(options_.grids[next_scale_])
               : at::Tensor();
}

at::Tensor ImageInFlight::ShownCodes() const {
  HEATKV_CHECK_GT(next_scale_, 0);
  return next_scale_ < num_scales()
             ? canvas_.CodesFor(options_.grids[next_scale_ - 1])
             : canvas_.summed_codes();
}

absl::StatusOr<ImageInFlight::ScaleResult> ImageInFlight::Step(
    const cache::StepPlan& plan, const RaggedAttention& attention,
    KeyValueArena& arena) {
  const int scale = next_scale_;
  HEATKV_CHECK_LT(scale, num_scales());
  HEATKV_CHECK_EQ(plan.scale, scale);
  HEATKV_CHECK_EQ(plan.branches, branches());
  const TransformerSpec& spec = transformer_->spec();
  const cache::Grid& grid = options_.grids[scale];

  const at::Tensor x = transformer_->Forward(
      scale, Input(), text_views_,
      RopeRotations(grid, options_.rope_grid, spec.head_width(),
                    transformer_->device()),
      MakeStepSlots(plan, grid.tokens(), transformer_->device()), attention,
      arena);

  const double guidance = options_.guidance[scale];
  ScaleResult result;
  result.logits =
      transformer_->Logits(x, text_views_, guidance == 1.0 ? 1 : branches());
  const auto not_finite =
      result.logits.isfinite().logical_not().sum().item<std::int64_t>();
  if (not_finite > 0) {
    return absl::InternalError(absl::StrCat("scale ", scale, ": ", not_finite,
                                            " of ", result.logits.numel(),
                                            " logits are not finite"));
  }
  result.bits = bits_->Draw(
      scale, BitProbabilities(
                 GuidedLogits(result.logits, guidance, options_.tau[scale]),
                 options_.top_p));
  Accept(result.bits);
  result.next_codes = codes_;
  return result;
}

}  // namespace heatkv::model
