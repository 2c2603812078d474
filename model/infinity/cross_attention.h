// Cross-attention of image tokens to the text of their own branch
// (specification section 3, Cross-attention): no normalisation of queries and
// keys, no rotation, no gate.
//
// The keys and values of a text do not depend on the scale, so they are
// computed once a text (ProjectText) and passed to every step.

#ifndef MODEL_INFINITY_CROSS_ATTENTION_H_
#define MODEL_INFINITY_CROSS_ATTENTION_H_

#include <ATen/core/Tensor.h>

#include <span>
#include <string>

#include "model/infinity/linear.h"
#include "model/weights/weight_store.h"

namespace heatkv::model {

// What one layer sees of one text.
struct TextKeysValues {
  at::Tensor keys;    // [heads, text tokens, head width]
  at::Tensor values;  // the same
};

class CrossAttention {
 public:
  // Takes PREFIX.mat_q, mat_kv, v_bias and proj.
  static CrossAttention Take(WeightStore& weights, const std::string& prefix,
                             int width, int heads);

  // rows [text tokens, width]: the text after `text_proj_for_ca`.
  TextKeysValues ProjectText(const at::Tensor& rows) const;

  // x [branches, tokens, width]; texts[b] belongs to branch b, and texts may
  // differ in length.
  at::Tensor operator()(const at::Tensor& x,
                        std::span<const TextKeysValues* const> texts) const;

  const Linear& query() const { return query_; }
  // Another place for the same values.
  void MoveKeysAndValues(const Linear& moved) { keys_and_values_ = moved; }
  const Linear& keys_and_values() const { return keys_and_values_; }
  const Linear& projection() const { return projection_; }

 private:
  int heads_ = 0;
  Linear query_;
  Linear keys_and_values_;  // keys have no bias
  Linear projection_;
};

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_CROSS_ATTENTION_H_
