#include "cache/head_blocks.h"

#include <algorithm>

#include "base/check.h"

namespace heatkv::cache {
namespace {

constexpr std::int32_t kNotTaken = -1;

// Slots first .. first + tokens - 1 of a block, as bits.
std::uint16_t Slots(int first, int tokens) {
  return static_cast<std::uint16_t>(((1u << tokens) - 1) << first);
}

BlockSpan Span(std::int32_t block, int first, int tokens) {
  return {.block = block,
          .first = static_cast<std::int16_t>(first),
          .tokens = static_cast<std::int16_t>(tokens)};
}

}  // namespace

HeadBlocks::HeadBlocks(const ScaleLadder& ladder, int branches)
    : scales_(ladder.num_scales() - 1),
      sink_scales_(ladder.sink_scales()),
      branches_(branches),
      segments_(static_cast<std::size_t>(branches) * scales_),
      sink_run_(
          (branches * ladder.sink_tokens() + kBlockTokens - 1) / kBlockTokens,
          kNotTaken) {}

void HeadBlocks::Store(const ScaleLadder& ladder, int branch, int scale,
                       BlockSource* source, std::vector<BlockSpan>* slots) {
  Segment& stored = segment(branch, scale);
  HEATKV_CHECK(!stored.is_stored) << "scale " << scale;
  stored.is_stored = true;
  const std::int64_t tokens = ladder.tokens(scale);
  tokens_ += tokens;
  if (scale < ladder.sink_scales()) {
    StoreSinks(ladder, branch, scale, source, &stored);
  } else {
    for (std::int64_t i = 0; i < tokens / kBlockTokens; ++i) {
      stored.spans.push_back(Span(Take(source), 0, kBlockTokens));
    }
    if (const int rest = tokens % kBlockTokens; rest > 0) {
      stored.spans.push_back(PlaceRemainder(rest, source));
    }
  }
  if (slots != nullptr) {
    slots->insert(slots->end(), stored.spans.begin(), stored.spans.end());
  }
}

void HeadBlocks::StoreSinks(const ScaleLadder& ladder, int branch, int scale,
                            BlockSource* source, Segment* stored) {
  const std::int64_t run_end = branches_ * ladder.sink_tokens();
  std::int64_t slot =
      branch * ladder.sink_tokens() + ladder.tokens_before(scale);
  const std::int64_t end = slot + ladder.tokens(scale);
  while (slot < end) {
    const int first = slot % kBlockTokens;
    const int tokens = static_cast<int>(
        std::min<std::int64_t>(kBlockTokens - first, end - slot));
    std::int32_t& block = sink_run_[slot / kBlockTokens];
    if (block == kNotTaken) {
      block = Take(source);
      // The end of the run is free for remainders.
      const int used = run_end % kBlockTokens;
      if (used > 0 && slot / kBlockTokens == run_end / kBlockTokens) {
        shared_.push_back({.block = block, .used = Slots(0, used)});
      }
    }
    stored->spans.push_back(Span(block, first, tokens));
    slot += tokens;
  }
}

BlockSpan HeadBlocks::PlaceRemainder(int tokens, BlockSource* source) {
  for (SharedBlock& shared : shared_) {
    for (int first = 0; first + tokens <= kBlockTokens; ++first) {
      const std::uint16_t wanted = Slots(first, tokens);
      if ((shared.used & wanted) == 0) {
        shared.used |= wanted;
        return Span(shared.block, first, tokens);
      }
    }
  }
  shared_.push_back({.block = Take(source), .used = Slots(0, tokens)});
  return Span(shared_.back().block, 0, tokens);
}

void HeadBlocks::Drop(const ScaleLadder& ladder, int branch, int scale,
                      BlockSource* source) {
  HEATKV_CHECK_GE(scale, ladder.sink_scales());
  Segment& dropped = segment(branch, scale);
  HEATKV_CHECK(dropped.is_stored) << "scale " << scale;
  for (const BlockSpan& span : dropped.spans) {
    if (span.tokens == kBlockTokens) {
      Give(span.block, source);
      continue;
    }
    const auto shared = std::find_if(
        shared_.begin(), shared_.end(),
        [&](const SharedBlock& s) { return s.block == span.block; });
    HEATKV_CHECK(shared != shared_.end()) << "block " << span.block;
    shared->used &= ~Slots(span.first, span.tokens);
    if (shared->used == 0) {
      Give(shared->block, source);
      shared_.erase(shared);
    }
  }
  dropped = Segment{};
  tokens_ -= ladder.tokens(scale);
}

void HeadBlocks::Clear(BlockSource* source) {
  const std::int32_t sink_tail = sink_run_.back();
  for (const SharedBlock& shared : shared_) {
    if (shared.block != sink_tail) Give(shared.block, source);
  }
  shared_.clear();
  for (std::int32_t& block : sink_run_) {
    if (block != kNotTaken) Give(block, source);
    block = kNotTaken;
  }
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    const bool is_sink = static_cast<int>(i) % scales_ < sink_scales_;
    for (const BlockSpan& span : segments_[i].spans) {
      if (!is_sink && span.tokens == kBlockTokens) Give(span.block, source);
    }
    segments_[i] = Segment{};
  }
  tokens_ = 0;
}

void HeadBlocks::AppendPrefix(int branch, std::vector<BlockSpan>* slots) const {
  const std::size_t begin = slots->size();
  for (int scale = 0; scale < scales_; ++scale) {
    for (const BlockSpan& span : segment(branch, scale).spans) {
      if (slots->size() > begin && slots->back().block == span.block &&
          slots->back().first + slots->back().tokens == span.first) {
        slots->back().tokens += span.tokens;
      } else {
        slots->push_back(span);
      }
    }
  }
}

std::int32_t HeadBlocks::Take(BlockSource* source) {
  ++blocks_;
  return source->Take();
}

void HeadBlocks::Give(std::int32_t block, BlockSource* source) {
  --blocks_;
  source->Give(block);
}

}  // namespace heatkv::cache
