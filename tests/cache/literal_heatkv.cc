#include "tests/cache/literal_heatkv.h"

#include <algorithm>
#include <cmath>

namespace heatkv::cache {
namespace {

using Segment = std::tuple<int, int, int>;

int RankOf(const Ranking& ranking, const Segment& segment) {
  const auto [source, layer, head] = segment;
  const auto order = ranking.order(source);
  return static_cast<int>(std::find(order.begin(), order.end(),
                                    HeadIndex{.layer = layer, .head = head}) -
                          order.begin());
}

// Everything stored when layer `layer` of scale t is done, while the segments
// of `gone` are not there.
std::int64_t CountTokens(const ScaleLadder& ladder, int layers, int heads,
                         int t, int layer, const SegmentSet& gone) {
  std::int64_t total = 0;
  for (int s = 0; s <= t; ++s) {
    for (int l = 0; l < layers; ++l) {
      for (int h = 0; h < heads; ++h) {
        const bool is_sink = s < ladder.sink_scales();
        // A sink scale counts once it is complete.
        if (is_sink ? s == t : s == t && l > layer) continue;
        if (!is_sink && gone.contains({s, l, h})) continue;
        total += ladder.tokens(s);
      }
    }
  }
  return total;
}

}  // namespace

std::optional<LiteralSchedule> LiteralHeatKv(const ScaleLadder& ladder,
                                             const Ranking& ranking,
                                             double budget) {
  const int scales = ladder.num_scales();
  const int layers = ranking.layers();
  const int heads = ranking.heads();
  const double full = static_cast<double>(ladder.full_tokens());
  const double sinks = static_cast<double>(ladder.sink_tokens());
  const double theta = budget * layers * heads * full;

  LiteralSchedule result;
  for (int t = 0; t < scales; ++t) {
    const double before = static_cast<double>(ladder.tokens_before(t));
    if (before <= budget * full) {
      result.x.push_back(0);
      continue;
    }
    if (before <= sinks) return std::nullopt;
    const int wanted = static_cast<int>(std::ceil(
        layers * heads * (before - budget * full) / (before - sinks)));
    result.x.push_back(std::clamp(wanted, 0, layers * heads));
  }

  SegmentSet previous;  // F_{t-1}
  for (int t = 0; t + 1 < scales; ++t) {
    SegmentSet final;
    for (int s = ladder.sink_scales(); s <= std::min(t, scales - 2); ++s) {
      for (int i = 0; i < result.x[t + 1]; ++i) {
        const HeadIndex head = ranking.order(s)[i];
        final.insert({s, head.layer, head.head});
      }
    }
    SegmentSet gone = previous;
    SegmentSet removed = previous;
    result.early.emplace_back(layers);
    result.tokens.emplace_back();
    for (int layer = 0; layer < layers; ++layer) {
      for (const Segment& segment : final) {
        if (std::get<1>(segment) <= layer) gone.insert(segment);
      }
      while (CountTokens(ladder, layers, heads, t, layer, gone) > theta) {
        // The next to leave early: highest layer, then largest source scale,
        // then rank.
        std::optional<Segment> next;
        const auto key = [&](const Segment& segment) {
          return std::tuple(-std::get<1>(segment), -std::get<0>(segment),
                            RankOf(ranking, segment));
        };
        for (const Segment& segment : final) {
          if (gone.contains(segment) || std::get<1>(segment) <= layer ||
              std::get<0>(segment) == t) {
            continue;
          }
          if (!next.has_value() || key(segment) < key(*next)) next = segment;
        }
        if (!next.has_value()) return std::nullopt;
        gone.insert(*next);
        removed.insert(*next);
        result.early[t][layer].push_back(*next);
      }
      result.tokens[t].push_back(
          CountTokens(ladder, layers, heads, t, layer, gone));
    }
    if (gone != final) return std::nullopt;
    result.removed.push_back(removed);
    result.final.push_back(final);
    previous = final;
  }
  result.removed.push_back(previous);
  result.final.push_back(previous);
  result.early.emplace_back(layers);
  return result;
}

}  // namespace heatkv::cache
