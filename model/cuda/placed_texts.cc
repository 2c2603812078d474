#include "model/cuda/placed_texts.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace heatkv::model {

PlacedTexts::PlacedTexts(const TextLayout& like, std::int64_t rows,
                         std::int64_t tokens)
    : texts_(like.Allocate(rows)) {
  texts_.keys_values = like.AllocateKeysValues(tokens);
  HEATKV_CHECK(HasRoomFor(like));
}

bool PlacedTexts::HasRoomFor(const TextLayout& layout) const {
  return layout.rows() <= texts_.modulation.size(0) &&
         layout.tokens() <= texts_.keys_values.size(2);
}

GroupTexts PlacedTexts::First(std::int64_t rows) const {
  return {.modulation = texts_.modulation.narrow(0, 0, rows),
          .head_scale = texts_.head_scale.narrow(0, 0, rows),
          .head_shift = texts_.head_shift.narrow(0, 0, rows),
          .keys_values = texts_.keys_values};
}

int PlacedTexts::Fill(const TextLayout& layout) {
  HEATKV_CHECK(HasRoomFor(layout));
  int copies = 0;
  const auto texts = layout.texts();
  const bool rows_are_there =
      texts.size() <= rows_.size() &&
      std::equal(texts.begin(), texts.end(), rows_.begin(),
                 [](const TextCondition* text, const Known& known) {
                   return known.Is(text->block_modulation);
                 });
  if (!rows_are_there) {
    rows_.clear();  // nothing is known if a copy fails
    layout.FillRows(First(layout.rows()));
    for (const TextCondition* text : texts) {
      rows_.emplace_back(text->block_modulation);
    }
    ++copies;
  }
  std::vector<Piece> pieces;
  const std::vector<Piece> before = std::exchange(pieces_, {});
  for (std::size_t i = 0; i < layout.pieces().size(); ++i) {
    const TextLayout::Piece& piece = layout.pieces()[i];
    const bool is_there = i < before.size() && before[i].begin == piece.begin &&
                          before[i].packed.Is(piece.text->packed);
    if (!is_there) {
      TextLayout::FillPiece(piece, texts_.keys_values);
      ++copies;
    }
    pieces.push_back(
        {.packed = Known(piece.text->packed), .begin = piece.begin});
  }
  pieces_ = std::move(pieces);
  return copies;
}

}  // namespace heatkv::model
