#include "model/cuda/placed_modulations.h"

#include <ATen/ATen.h>

#include <algorithm>

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

PlacedModulations::PlacedModulations(const TextCondition& like,
                                     std::int64_t rows)
    : places_{.block = LikeRows(like.block_modulation, rows),
              .head_scale = LikeRows(like.head_scale, rows),
              .head_shift = LikeRows(like.head_shift, rows)} {}

GroupModulations PlacedModulations::First(std::int64_t rows) const {
  return {.block = places_.block.narrow(0, 0, rows),
          .head_scale = places_.head_scale.narrow(0, 0, rows),
          .head_shift = places_.head_shift.narrow(0, 0, rows)};
}

bool PlacedModulations::Fill(std::span<const TextCondition* const> texts) {
  HEATKV_CHECK_LE(texts.size(), rows());
  const bool are_there =
      texts.size() <= rows_.size() &&
      std::equal(texts.begin(), texts.end(), rows_.begin(),
                 [](const TextCondition* text, const Known& known) {
                   return known.Is(text->block_modulation);
                 });
  if (are_there) return false;
  rows_.clear();  // nothing is known if a copy fails
  const GroupModulations first = First(static_cast<std::int64_t>(texts.size()));
  Stack(texts, &TextCondition::block_modulation, first.block);
  Stack(texts, &TextCondition::head_scale, first.head_scale);
  Stack(texts, &TextCondition::head_shift, first.head_shift);
  for (const TextCondition* text : texts) {
    rows_.emplace_back(text->block_modulation);
  }
  return true;
}

}  // namespace heatkv::model
