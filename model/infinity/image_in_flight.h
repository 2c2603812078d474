// One image between two scales: its texts, knobs, canvas and next input.
//
// Owns its tensors; shares its texts with other images of the same prompt and
// refers to the transformer, which outlives it.  Its cache blocks belong to the
// engine.  Used by one thread.

#ifndef MODEL_INFINITY_IMAGE_IN_FLIGHT_H_
#define MODEL_INFINITY_IMAGE_IN_FLIGHT_H_

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache/ladder.h"
#include "cache/step_plan.h"
#include "model/infinity/bit_source.h"
#include "model/infinity/code_canvas.h"
#include "model/infinity/key_value_arena.h"
#include "model/infinity/ragged_attention.h"
#include "model/infinity/text_condition.h"
#include "model/infinity/transformer.h"

namespace heatkv::model {

class ImageInFlight {
 public:
  struct Options {
    // The ladder's grids and the grid to which positions are normalised.
    std::vector<cache::Grid> grids;
    cache::Grid rope_grid;
    // One value for each grid.
    std::vector<double> guidance;
    std::vector<double> tau;
    double top_p = 0.97;
  };

  // `texts` holds the conditional text and, if any guidance is not 1, the
  // unconditional one.  Sharing: texts belong to the image's prompt.
  ImageInFlight(const InfinityTransformer* transformer,
                std::vector<std::shared_ptr<const TextCondition>> texts,
                Options options, std::unique_ptr<BitSource> bits);

  int next_scale() const { return next_scale_; }
  int num_scales() const { return static_cast<int>(options_.grids.size()); }
  int branches() const { return static_cast<int>(texts_.size()); }
  const Options& options() const { return options_; }
  std::span<const TextCondition* const> texts() const { return text_views_; }

  // What one scale came to, for comparison with recorded values.
  struct ScaleResult {
    at::Tensor logits;      // [1 or branches, tokens, 2 bits], raw
    at::Tensor bits;        // bool [tokens, bits a token]
    at::Tensor next_codes;  // [1, next tokens, bits]; undefined at the end
  };

  // Computes next_scale() as `plan` says.  REQUIRES: the plan is for that scale
  // and number of branches.  Fails with Internal if logits are not finite; the
  // image is then good for nothing.
  absl::StatusOr<ScaleResult> Step(const cache::StepPlan& plan,
                                   const RaggedAttention& attention,
                                   KeyValueArena& arena);

  // The two ends of a step, for whoever computes what lies between in another
  // way: the input of next_scale(), float32 [branches, tokens, width], and the
  // bits [tokens, bits a token] that it led to, which complete the scale.
  at::Tensor Input() const;
  void Accept(const at::Tensor& bits);
  // The codes of which Input is made, [1, tokens, bits a token]; of the first
  // scale's there are none.
  const at::Tensor& input_codes() const { return codes_; }

  // See CodeCanvas.
  at::Tensor summed_codes() const { return canvas_.summed_codes(); }

  // What to decode to show the image: after the last scale the summed codes,
  // before it those in the size of the scale that is done, which costs a
  // fraction.  REQUIRES: a scale is done.
  at::Tensor ShownCodes() const;

 private:
  const InfinityTransformer* transformer_;
  std::vector<std::shared_ptr<const TextCondition>> texts_;
  std::vector<const TextCondition*> text_views_;  // into texts_
  Options options_;
  std::unique_ptr<BitSource> bits_;
  CodeCanvas canvas_;
  at::Tensor codes_;  // of next_scale_, [1, tokens, bits a token], or none
  int next_scale_ = 0;
};

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_IMAGE_IN_FLIGHT_H_
