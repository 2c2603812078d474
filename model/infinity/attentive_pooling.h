// Pools the text features of one prompt into one vector: multi-head attention
// of a learned query over the prompt's tokens (`text_proj_for_sos`,
// specification section 1.2, step 3).

#ifndef MODEL_INFINITY_ATTENTIVE_POOLING_H_
#define MODEL_INFINITY_ATTENTIVE_POOLING_H_

#include <ATen/core/Tensor.h>

#include "model/infinity/linear.h"
#include "model/weights/weight_store.h"

namespace heatkv::model {

class AttentivePooling {
 public:
  // Takes text_proj_for_sos.*; the number of heads is read off mat_q.
  static AttentivePooling Take(WeightStore& weights, int text_width, int width);

  // text [tokens, text_width], normalised -> [1, width].  `token_bias`, if
  // defined, is float32 [tokens]: minus infinity hides a token, zero does not.
  at::Tensor Pool(const at::Tensor& text,
                  const at::Tensor& token_bias = {}) const;

 private:
  at::Tensor query_;        // [1, heads, 1, head width]
  Linear keys_and_values_;  // keys have no bias
  Linear projection_;
};

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_ATTENTIVE_POOLING_H_
