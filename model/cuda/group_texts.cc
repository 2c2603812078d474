#include "model/cuda/group_texts.h"

#include <ATen/ATen.h>

#include <map>

#include "base/check.h"

namespace heatkv::model {
namespace {

// The member of every text, one below the other, into `rows`.
void Stack(std::span<const TextCondition* const> texts,
           at::Tensor TextCondition::*member, at::Tensor rows) {
  std::vector<at::Tensor> parts;
  for (const TextCondition* text : texts) parts.push_back(text->*member);
  at::cat_out(rows, parts);
}

at::Tensor LikeRows(const at::Tensor& one, std::int64_t rows) {
  std::vector<std::int64_t> shape = one.sizes().vec();
  shape[0] = rows;
  return at::empty(shape, one.options());
}

}  // namespace

TextLayout::TextLayout(std::span<const TextCondition* const> texts)
    : texts_(texts.begin(), texts.end()) {
  // The longest of the texts that begin at the same place in memory: shorter
  // ones are its first tokens.
  std::map<const void*, const TextCondition*> longest;
  for (const TextCondition* text : texts) {
    HEATKV_CHECK(text->packed.defined());
    const TextCondition*& known = longest[text->packed.const_data_ptr()];
    if (known == nullptr || known->tokens < text->tokens) known = text;
  }
  std::map<const void*, int> begins;
  for (const TextCondition* text : texts) {
    const void* const place = text->packed.const_data_ptr();
    const auto [begin, is_new] = begins.emplace(place, tokens_);
    if (is_new) {
      pieces_.push_back({.text = longest[place], .begin = tokens_});
      tokens_ += longest[place]->tokens;
    }
    ranges_.push_back({.begin = begin->second, .tokens = text->tokens});
  }
}

at::Tensor TextLayout::AllocateKeysValues(std::int64_t tokens) const {
  HEATKV_CHECK_LE(tokens_, tokens);
  std::vector<std::int64_t> shape = texts_[0]->packed.sizes().vec();
  shape[2] = tokens;
  return at::empty(shape, texts_[0]->packed.options());
}

GroupTexts TextLayout::Allocate(std::int64_t rows) const {
  const TextCondition& text = *texts_[0];
  return {.modulation = LikeRows(text.block_modulation, rows),
          .head_scale = LikeRows(text.head_scale, rows),
          .head_shift = LikeRows(text.head_shift, rows),
          .keys_values = {}};
}

void TextLayout::FillRows(const GroupTexts& group) const {
  Stack(texts_, &TextCondition::block_modulation, group.modulation);
  Stack(texts_, &TextCondition::head_scale, group.head_scale);
  Stack(texts_, &TextCondition::head_shift, group.head_shift);
}

void TextLayout::FillPiece(const Piece& piece, const at::Tensor& keys_values) {
  keys_values.narrow(2, piece.begin, piece.text->tokens)
      .copy_(piece.text->packed);
}

}  // namespace heatkv::model
