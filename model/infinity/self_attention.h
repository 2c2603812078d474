// Self-attention with normalised queries and keys ("cosine attention",
// specification section 3): queries are scaled by a learned factor per head,
// both are rotated by RoPE2D, and the softmax has no further scale.

#ifndef MODEL_INFINITY_SELF_ATTENTION_H_
#define MODEL_INFINITY_SELF_ATTENTION_H_

#include <ATen/core/Tensor.h>

#include <string>

#include "model/infinity/key_value_arena.h"
#include "model/infinity/linear.h"
#include "model/infinity/ragged_attention.h"
#include "model/infinity/step_slots.h"
#include "model/weights/weight_store.h"

namespace heatkv::model {

class SelfAttention {
 public:
  // Takes PREFIX.mat_qkv, q_bias, v_bias, scale_mul_1H11 and proj.
  static SelfAttention Take(WeightStore& weights, const std::string& prefix,
                            int width, int heads);

  // x [branches, tokens, width], modulated; `rotations` as RopeRotations
  // makes them.  Reads each head's kept prefix from the arena, then stores the
  // current scale's keys and values for the heads that keep it.
  at::Tensor Forward(const at::Tensor& x, const at::Tensor& rotations,
                     const LayerSlots& slots, const RaggedAttention& attention,
                     KeyValueArena& arena) const;

  const Linear& queries_keys_values() const { return queries_keys_values_; }
  const at::Tensor& query_scale() const { return query_scale_; }
  const Linear& projection() const { return projection_; }

 private:
  int heads_ = 0;
  Linear queries_keys_values_;  // keys have no bias
  at::Tensor query_scale_;      // [1, heads, 1, 1], the exponential taken
  Linear projection_;
};

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_SELF_ATTENTION_H_
