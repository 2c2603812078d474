// A second implementation of attention under a schedule, with nothing in
// common with the arena: it keeps every key and value for good, attends
// densely, and masks what the schedule has removed to minus infinity.

#ifndef TESTS_MODEL_MASKED_ATTENTION_H_
#define TESTS_MODEL_MASKED_ATTENTION_H_

#include <ATen/core/Tensor.h>

#include <memory>
#include <utility>
#include <vector>

#include "cache/schedule.h"
#include "model/infinity/ragged_attention.h"

namespace heatkv::model {

// Follows one image: calls come layer by layer, scale by scale.
class MaskedAttention : public RaggedAttention {
 public:
  explicit MaskedAttention(std::shared_ptr<const cache::Schedule> schedule)
      : schedule_(std::move(schedule)),
        keys_(schedule_->layers()),
        values_(schedule_->layers()) {}

  // Ignores the slots and the arena.
  at::Tensor Attend(const LayerSlots& slots, const at::Tensor& queries,
                    const at::Tensor& keys, const at::Tensor& values,
                    const KeyValueArena& arena) const override;

 private:
  // 0 for what a head of the current layer sees, minus infinity elsewhere:
  // float [1, heads, 1, all tokens so far].
  at::Tensor Mask() const;

  std::shared_ptr<const cache::Schedule> schedule_;
  // Attend is const for stateless backends; this one has a memory.
  mutable std::vector<at::Tensor> keys_;    // of each layer
  mutable std::vector<at::Tensor> values_;  // likewise
  mutable int layer_ = 0;
  mutable int scale_ = 0;
};

}  // namespace heatkv::model

#endif  // TESTS_MODEL_MASKED_ATTENTION_H_
