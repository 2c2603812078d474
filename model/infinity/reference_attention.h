// RaggedAttention on any device out of torch's own operators: gathers each
// group of equally long prefixes and calls dense attention once a group.
// The truth that faster backends are compared with, and the CPU's backend.

#ifndef MODEL_INFINITY_REFERENCE_ATTENTION_H_
#define MODEL_INFINITY_REFERENCE_ATTENTION_H_

#include "model/infinity/ragged_attention.h"

namespace heatkv::model {

class ReferenceAttention : public RaggedAttention {
 public:
  at::Tensor Attend(const LayerSlots& slots, const at::Tensor& queries,
                    const at::Tensor& keys, const at::Tensor& values,
                    const KeyValueArena& arena) const override;
};

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_REFERENCE_ATTENTION_H_
