// All that follows from the text of one branch alone, computed once: what the
// pooled text contributes to every modulation, and every layer's
// cross-attention keys and values (specification section 1.2).

#ifndef MODEL_INFINITY_TEXT_CONDITION_H_
#define MODEL_INFINITY_TEXT_CONDITION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/infinity/attentive_pooling.h"
#include "model/infinity/cross_attention.h"
#include "model/infinity/linear.h"
#include "model/weights/weight_store.h"

namespace heatkv::model {

// Immutable once made.
struct TextCondition {
  int tokens = 0;
  at::Tensor pooled;            // [1, width]: `sos` and `cond`
  at::Tensor block_modulation;  // [1, 1, 6, width]
  at::Tensor head_scale;        // [1, 1, width]
  at::Tensor head_shift;        // [1, 1, width]
  std::vector<TextKeysValues> layers;
  // On a GPU all layers in one piece, [layers, 2 (keys, values), tokens, heads,
  // head width], of which `layers` are views.
  at::Tensor packed;

  std::int64_t bytes() const;

  // The same, with pooled text and modulations in memory of their own.  Keys
  // and values are shared.
  TextCondition WithOwnModulations() const;
};

// The text-side weights of the transformer, outside its blocks.
class TextProjection {
 public:
  static TextProjection Take(WeightStore& weights, int text_width, int width);

  // Root-mean-square normalisation of features [tokens, text_width].
  at::Tensor Normalise(const at::Tensor& features) const;

  // What cross-attention sees of normalised text: [tokens, width].
  at::Tensor CrossRows(const at::Tensor& normalised) const;

  // Pooled text and its modulations.  `layers` stays empty.  `token_bias` as
  // AttentivePooling has it.
  TextCondition Condition(const at::Tensor& normalised,
                          const at::Tensor& token_bias = {}) const;

 private:
  at::Tensor norm_weight_;
  AttentivePooling pooling_;
  Linear cross_in_;
  Linear cross_out_;
  Linear block_modulation_;  // shared_ada_lin
  Linear head_modulation_;   // head_nm.ada_lin
};

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_TEXT_CONDITION_H_
