// What a group's rows see of their texts, laid out for a GPU step.  Rows that
// share a text (the unconditional one, or an image's that stands in for an
// empty slot) share its keys and values.

#ifndef MODEL_CUDA_GROUP_TEXTS_H_
#define MODEL_CUDA_GROUP_TEXTS_H_

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "model/cuda/step_table_layout.h"
#include "model/infinity/text_condition.h"

namespace heatkv::model {

// The tensors of a step.
struct GroupTexts {
  at::Tensor modulation;  // [rows, 1, 6, width]
  at::Tensor head_scale;  // [rows, 1, width]
  at::Tensor head_shift;  // the same
  // bf16 [layers, 2 (keys, values), at least all text tokens, heads, head
  // width]
  at::Tensor keys_values;
};

// Which text lies where.
class TextLayout {
 public:
  // texts[row], which must outlive the layout.
  explicit TextLayout(std::span<const TextCondition* const> texts);

  // A text whose keys and values lie at `begin` among those of the group.
  struct Piece {
    const TextCondition* text = nullptr;
    int begin = 0;
  };

  // Of each row.
  std::span<const TextCondition* const> texts() const { return texts_; }
  std::span<const TextRange> ranges() const { return ranges_; }
  std::int64_t rows() const { return static_cast<std::int64_t>(texts_.size()); }
  std::span<const Piece> pieces() const { return pieces_; }
  int tokens() const { return tokens_; }

  // Tensors for a group of `rows` rows, but for keys and values, ...
  GroupTexts Allocate(std::int64_t rows) const;
  // ... and those, with room for `tokens`, at least tokens().
  at::Tensor AllocateKeysValues(std::int64_t tokens) const;

  // Copies what belongs to rows(), and the keys and values of a piece.
  void FillRows(const GroupTexts& group) const;
  static void FillPiece(const Piece& piece, const at::Tensor& keys_values);

 private:
  std::vector<const TextCondition*> texts_;
  std::vector<TextRange> ranges_;
  std::vector<Piece> pieces_;
  int tokens_ = 0;
};

}  // namespace heatkv::model

#endif  // MODEL_CUDA_GROUP_TEXTS_H_
