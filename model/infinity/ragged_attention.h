// Attention of one layer's current scale to each head's own kept prefix and to
// the whole current scale: heads differ in how much they keep, so prefixes are
// ragged.  Backends compute the same values with different kernels.
//
// An implementation is stateless between calls and is used by one thread.

#ifndef MODEL_INFINITY_RAGGED_ATTENTION_H_
#define MODEL_INFINITY_RAGGED_ATTENTION_H_

#include <ATen/core/Tensor.h>

#include "model/infinity/key_value_arena.h"
#include "model/infinity/step_slots.h"

namespace heatkv::model {

class RaggedAttention {
 public:
  virtual ~RaggedAttention() = default;

  // Queries, keys and values of the current scale are [branches, heads, tokens,
  // head width], queries and keys normalised and rotated.  Returns softmax(q
  // k^T) v over [prefix ; current], without any further scaling, in the same
  // shape.  Keys and values of the current scale are used as they are; a
  // prefix has been rounded to the arena's dtype when it was stored.  Does
  // not write to the arena.
  virtual at::Tensor Attend(const LayerSlots& slots, const at::Tensor& queries,
                            const at::Tensor& keys, const at::Tensor& values,
                            const KeyValueArena& arena) const = 0;
};

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_RAGGED_ATTENTION_H_
