// The modulations of a group's texts at places that stay, so that a recorded
// step finds there whatever group comes, and what is there already is not
// copied again: the texts of an image do not change from scale to scale.
//
// Remembers which texts' modulations are there without keeping them alive.
// Copies are enqueued on torch's current stream; whoever reads must come behind
// them.  Used by one thread.

#ifndef MODEL_CUDA_PLACED_MODULATIONS_H_
#define MODEL_CUDA_PLACED_MODULATIONS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "model/infinity/text_condition.h"

namespace heatkv::model {

// Of each row of a group.
struct GroupModulations {
  at::Tensor block;       // [rows, 1, 6, width]
  at::Tensor head_scale;  // [rows, 1, width]
  at::Tensor head_shift;  // the same
};

class PlacedModulations {
 public:
  // Room for groups of `rows` rows, with types and widths as those of `like`.
  PlacedModulations(const TextCondition& like, std::int64_t rows);

  std::int64_t rows() const { return places_.block.size(0); }

  // The places of groups of `rows` rows: the first ones.
  GroupModulations First(std::int64_t rows) const;

  // Makes the first rows those of texts[row].  Returns whether that took
  // copies.  REQUIRES: texts.size() <= rows().
  bool Fill(std::span<const TextCondition* const> texts);

 private:
  // One tensor, known again as long as anybody might mistake another for it: a
  // weak reference keeps its address, though not its memory, from being reused.
  class Known {
   public:
    explicit Known(const at::Tensor& tensor)
        : impl_(tensor.getIntrusivePtr()) {}
    bool Is(const at::Tensor& tensor) const {
      return impl_._unsafe_get_target() == tensor.unsafeGetTensorImpl();
    }

   private:
    c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl> impl_;
  };

  GroupModulations places_;
  std::vector<Known> rows_;  // the modulations that the first rows hold
};

}  // namespace heatkv::model

#endif  // MODEL_CUDA_PLACED_MODULATIONS_H_
