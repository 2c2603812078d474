#include "cache/ranking.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace heatkv::cache {
namespace {

absl::Status CheckDimensions(int layers, int heads, int first_source_scale,
                             std::size_t source_scales) {
  if (layers < 1 || heads < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("a ranking needs at least 1 layer and 1 head, but has ",
                     layers, " and ", heads));
  }
  if (first_source_scale < 1 || source_scales < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a ranking needs at least 1 source scale, the first not before scale "
        "1, but has ",
        source_scales, " from scale ", first_source_scale));
  }
  return absl::OkStatus();
}

absl::Status CheckPermutation(int layers, int heads, int source_scale,
                              const std::vector<HeadIndex>& order) {
  const std::size_t expected = static_cast<std::size_t>(layers) * heads;
  if (order.size() != expected) {
    return absl::InvalidArgumentError(
        absl::StrCat("ranking of source scale ", source_scale, ": ",
                     order.size(), " heads, but the model has ", expected, " (",
                     layers, " layers of ", heads, ")"));
  }
  std::vector<int> position(expected, -1);
  for (int i = 0; i < static_cast<int>(order.size()); ++i) {
    const auto [layer, head] = order[i];
    if (layer < 0 || layer >= layers || head < 0 || head >= heads) {
      return absl::InvalidArgumentError(absl::StrCat(
          "ranking of source scale ", source_scale, ", position ", i,
          ": layer ", layer, " head ", head, ", but the model has ", layers,
          " layers of ", heads, " heads"));
    }
    int& seen = position[static_cast<std::size_t>(layer) * heads + head];
    if (seen >= 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "ranking of source scale ", source_scale, ": layer ", layer, " head ",
          head, " is at positions ", seen, " and ", i));
    }
    seen = i;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Ranking> Ranking::Create(
    int layers, int heads, int first_source_scale,
    std::vector<std::vector<HeadIndex>> orders) {
  RETURN_IF_ERROR(
      CheckDimensions(layers, heads, first_source_scale, orders.size()));
  for (int i = 0; i < static_cast<int>(orders.size()); ++i) {
    RETURN_IF_ERROR(
        CheckPermutation(layers, heads, first_source_scale + i, orders[i]));
  }
  return Ranking(layers, heads, first_source_scale, std::move(orders));
}

Ranking::Ranking(int layers, int heads, int first_source_scale,
                 std::vector<std::vector<HeadIndex>> orders)
    : layers_(layers),
      heads_(heads),
      first_source_scale_(first_source_scale),
      orders_(std::move(orders)) {}

absl::StatusOr<Ranking> Ranking::Prefix(int end_source_scale) const {
  if (end_source_scale <= first_source_scale_ ||
      end_source_scale > this->end_source_scale()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the ranking covers source scales ", first_source_scale_, " to ",
        this->end_source_scale() - 1, ", but ", first_source_scale_, " to ",
        end_source_scale - 1, " are wanted"));
  }
  return Ranking(layers_, heads_, first_source_scale_,
                 std::vector<std::vector<HeadIndex>>(
                     orders_.begin(), orders_.begin() + (end_source_scale -
                                                         first_source_scale_)));
}

absl::StatusOr<Ranking> RankingFromScores(
    int layers, int heads, int first_source_scale,
    const std::vector<std::vector<double>>& scores) {
  RETURN_IF_ERROR(
      CheckDimensions(layers, heads, first_source_scale, scores.size()));
  const std::size_t expected = static_cast<std::size_t>(layers) * heads;
  std::vector<std::vector<HeadIndex>> orders;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const int source_scale = first_source_scale + static_cast<int>(i);
    const std::vector<double>& row = scores[i];
    if (row.size() != expected) {
      return absl::InvalidArgumentError(
          absl::StrCat("scores of source scale ", source_scale, ": ",
                       row.size(), " values, but the model has ", expected,
                       " heads (", layers, " layers of ", heads, ")"));
    }
    std::vector<HeadIndex> order;
    for (int layer = 0; layer < layers; ++layer) {
      for (int head = 0; head < heads; ++head) {
        const double score = row[layer * heads + head];
        if (!std::isfinite(score)) {
          return absl::InvalidArgumentError(absl::StrCat(
              "score of source scale ", source_scale, ", layer ", layer,
              ", head ", head, " must be finite, but is ", score));
        }
        order.push_back({.layer = layer, .head = head});
      }
    }
    std::sort(order.begin(), order.end(),
              [&](const HeadIndex& a, const HeadIndex& b) {
                const double score_a = row[a.layer * heads + a.head];
                const double score_b = row[b.layer * heads + b.head];
                return std::tie(score_a, a.head, a.layer) <
                       std::tie(score_b, b.head, b.layer);
              });
    orders.push_back(std::move(order));
  }
  return Ranking::Create(layers, heads, first_source_scale, std::move(orders));
}

}  // namespace heatkv::cache
