// A group's texts at places that stay, so that a recorded step finds there
// whatever group comes, and what is there already is not copied again: the
// texts of an image do not change from scale to scale.
//
// Remembers which texts lie where without keeping them alive.  Copies are
// enqueued on torch's current stream; whoever reads must come behind them.
// Used by one thread.

#ifndef MODEL_CUDA_PLACED_TEXTS_H_
#define MODEL_CUDA_PLACED_TEXTS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/cuda/group_texts.h"

namespace heatkv::model {

class PlacedTexts {
 public:
  // Room for groups of `rows` rows and texts of `tokens` tokens, both at least
  // those of `like`, whose texts' types and widths the places take over.
  PlacedTexts(const TextLayout& like, std::int64_t rows, std::int64_t tokens);

  bool HasRoomFor(const TextLayout& layout) const;

  // The places of groups of `rows` rows: the first ones.
  GroupTexts First(std::int64_t rows) const;

  // Makes the first rows and all keys and values those of `layout`.  Returns
  // how many copies that took.  REQUIRES: HasRoomFor(layout).
  int Fill(const TextLayout& layout);

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
  struct Piece {
    Known packed;
    int begin = 0;
  };

  GroupTexts texts_;
  std::vector<Known> rows_;  // the modulations that the first rows hold
  std::vector<Piece> pieces_;
};

}  // namespace heatkv::model

#endif  // MODEL_CUDA_PLACED_TEXTS_H_
