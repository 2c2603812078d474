#include "cache/head_blocks.h"

#include <algorithm>

#include "base/check.h"

namespace heatkv::cache {
namespace {

constexpr std::int32_t kNotTaken = -1;

// Most branches of a head come to have so many, and some a few times as many.
constexpr std::size_t kUsualSpans = 32;

// Slots first .. first + tokens - 1 of a block, as bits.
std::uint16_t Slots(int first, int tokens) {
  return static_cast<std::uint16_t>(((1u << tokens) - 1) << first);
}

bool HasScaleSmallerThanABlock(const ScaleLadder& ladder) {
  for (int s = ladder.first_prunable(); s < ladder.end_prunable(); ++s) {
    if (ladder.tokens(s) < kBlockTokens) return true;
  }
  return false;
}

BlockSpan Span(std::int32_t block, int first, int tokens) {
  return {.block = block,
          .first = static_cast<std::int16_t>(first),
          .tokens = static_cast<std::int16_t>(tokens)};
}

// Whether `next` begins where `last` ends, in the same block.
bool Continues(const BlockSpan& last, const BlockSpan& next) {
  return next.block == last.block && next.first == last.first + last.tokens;
}

}  // namespace

HeadBlocks::HeadBlocks(const ScaleLadder& ladder, int branches)
    : scales_(ladder.num_scales() - 1),
      sink_scales_(ladder.sink_scales()),
      may_join_(HasScaleSmallerThanABlock(ladder)),
      branches_(branches),
      segments_(static_cast<std::size_t>(branches) * scales_, 0),
      sink_run_(
          (branches * ladder.sink_tokens() + kBlockTokens - 1) / kBlockTokens,
          kNotTaken) {}

std::int64_t HeadBlocks::SpansBefore(int branch, int scale) const {
  std::int64_t spans = branches_[branch].sink_spans;
  for (int s = sink_scales_; s < scale; ++s) spans += spans_of(branch, s);
  return spans;
}

void HeadBlocks::Store(const ScaleLadder& ladder, int branch, int scale,
                       BlockSource* source, std::vector<BlockSpan>* slots) {
  HEATKV_CHECK(!Holds(branch, scale)) << "scale " << scale;
  const std::int64_t tokens = ladder.tokens(scale);
  tokens_ += tokens;
  if (scale < sink_scales_) {
    StoreSinks(ladder, branch, scale, source, slots);
    spans_of(branch, scale) = 1;
    return;
  }
  Branch& stored = branches_[branch];
  std::vector<BlockSpan>& spans = stored.spans;
  const auto before = static_cast<std::ptrdiff_t>(spans.size());
  const std::int64_t blocks = tokens / kBlockTokens;
  spans.resize(spans.size() + blocks);
  for (auto span = spans.begin() + before; span != spans.end(); ++span) {
    *span = Span(source->Take(), 0, kBlockTokens);
  }
  blocks_ += blocks;
  if (const int rest = tokens % kBlockTokens; rest > 0) {
    spans.push_back(PlaceRemainder(rest, source));
  }
  const auto begin = spans.begin() + before;
  if (slots != nullptr) slots->insert(slots->end(), begin, spans.end());
  spans_of(branch, scale) = static_cast<std::int32_t>(spans.end() - begin);
  if (scale < stored.newest) {
    std::rotate(spans.begin() + SpansBefore(branch, scale), begin, spans.end());
  } else {
    stored.newest = scale;
  }
}

void HeadBlocks::StoreSinks(const ScaleLadder& ladder, int branch, int scale,
                            BlockSource* source,
                            std::vector<BlockSpan>* slots) {
  Branch& stored = branches_[branch];
  stored.spans.reserve(kUsualSpans);
  HEATKV_CHECK_LT(stored.newest, scale) << "sinks come first and in order";
  stored.newest = scale;
  const std::int64_t run_end =
      static_cast<std::int64_t>(branches_.size()) * ladder.sink_tokens();
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
    const BlockSpan span = Span(block, first, tokens);
    if (slots != nullptr) slots->push_back(span);
    if (!stored.spans.empty() && Continues(stored.spans.back(), span)) {
      stored.spans.back().tokens += span.tokens;
    } else {
      stored.spans.push_back(span);
    }
    slot += tokens;
  }
  stored.sink_spans = static_cast<std::int32_t>(stored.spans.size());
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
  HEATKV_CHECK_GE(scale, sink_scales_);
  HEATKV_CHECK(Holds(branch, scale)) << "scale " << scale;
  std::vector<BlockSpan>& spans = branches_[branch].spans;
  const auto begin = spans.begin() + SpansBefore(branch, scale);
  const auto end = begin + spans_of(branch, scale);
  for (auto span = begin; span != end; ++span) {
    if (span->tokens == kBlockTokens) {
      Give(span->block, source);
      continue;
    }
    const auto shared = std::find_if(
        shared_.begin(), shared_.end(),
        [&](const SharedBlock& s) { return s.block == span->block; });
    HEATKV_CHECK(shared != shared_.end()) << "block " << span->block;
    shared->used &= ~Slots(span->first, span->tokens);
    if (shared->used == 0) {
      Give(shared->block, source);
      shared_.erase(shared);
    }
  }
  spans.erase(begin, end);
  spans_of(branch, scale) = 0;
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
  for (int branch = 0; branch < static_cast<int>(branches_.size()); ++branch) {
    std::vector<BlockSpan>& spans = branches_[branch].spans;
    for (auto span = spans.begin() + branches_[branch].sink_spans;
         span != spans.end(); ++span) {
      if (span->tokens == kBlockTokens) Give(span->block, source);
    }
    spans.clear();
    branches_[branch].sink_spans = 0;
    branches_[branch].newest = -1;
  }
  std::fill(segments_.begin(), segments_.end(), 0);
  tokens_ = 0;
}

void HeadBlocks::AppendPrefix(int branch, std::vector<BlockSpan>* slots) const {
  const std::vector<BlockSpan>& spans = branches_[branch].spans;
  const auto begin = static_cast<std::ptrdiff_t>(slots->size());
  slots->insert(slots->end(), spans.begin(), spans.end());
  // Sinks are joined already.
  if (!may_join_) return;
  auto last =
      std::adjacent_find(slots->begin() + begin, slots->end(), Continues);
  if (last == slots->end()) return;
  for (auto next = last + 1; next != slots->end(); ++next) {
    if (Continues(*last, *next)) {
      last->tokens += next->tokens;
    } else {
      *++last = *next;
    }
  }
  slots->erase(last + 1, slots->end());
}

}  // namespace heatkv::cache
