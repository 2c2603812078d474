#include "cache/heatkv_solver.h"

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace heatkv::cache {
namespace {

// A segment of F_t that was in the cache when scale t began.
struct Candidate {
  int source_scale;
  int rank;  // in its source scale's order
  HeadIndex head;
};

absl::Status CheckRanking(const ScaleLadder& ladder, int layers, int heads,
                          const Ranking& ranking) {
  if (ranking.layers() != layers || ranking.heads() != heads) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ranking is of a model of ", ranking.layers(), " layers of ",
        ranking.heads(), " heads, but this one has ", layers, " of ", heads));
  }
  if (ranking.first_source_scale() != ladder.first_prunable() ||
      ranking.end_source_scale() != ladder.end_prunable()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ranking covers source scales ", ranking.first_source_scale(), " to ",
        ranking.end_source_scale() - 1, ", but the ladder of ",
        ladder.num_scales(), " scales with ", ladder.sink_scales(),
        " sink scales needs ", ladder.first_prunable(), " to ",
        ladder.end_prunable() - 1));
  }
  return absl::OkStatus();
}

absl::Status Infeasible(const Budget& budget, int scale, double needed,
                        double allowed) {
  return absl::InvalidArgumentError(
      absl::StrCat("budget ", budget.ToString(), " cannot be met at scale ",
                   scale, ": ", needed, " tokens > ", allowed));
}

// One run of the solver; its members are the state of the walk.
class Solver {
 public:
  Solver(const ScaleLadder& ladder, int layers, int heads,
         const Ranking& ranking, const Budget& budget)
      : ladder_(ladder),
        layers_(layers),
        heads_(heads),
        ranking_(ranking),
        budget_(budget),
        allowed_(budget.model_tokens(ladder, layers, heads)),
        departures_(static_cast<std::size_t>(ladder.end_prunable() -
                                             ladder.first_prunable()) *
                    layers * heads),
        early_drops_(ladder.num_scales()) {}

  absl::StatusOr<Schedule> Solve() {
    RETURN_IF_ERROR(CountHeads());
    for (int t = 0; t + 1 < ladder_.num_scales(); ++t) {
      RETURN_IF_ERROR(WalkScale(t));
    }
    return Schedule("heatkv", ladder_, layers_, heads_, budget_,
                    std::move(departures_), std::move(early_drops_),
                    std::move(heads_dropped_));
  }

 private:
  // x_t for every scale.
  absl::Status CountHeads() {
    for (int t = 0; t < ladder_.num_scales(); ++t) {
      const std::int64_t before = ladder_.tokens_before(t);
      if (before > budget_.tokens_a_head(ladder_) &&
          before <= ladder_.sink_tokens()) {
        return Infeasible(budget_, t, before, budget_.tokens_a_head(ladder_));
      }
      heads_dropped_.push_back(
          budget_.heads_to_drop(ladder_, layers_, heads_, t));
      if (t > 0 && heads_dropped_[t] < heads_dropped_[t - 1]) {
        return absl::InvalidArgumentError(absl::StrCat(
            "budget ", budget_.ToString(), " would drop ", heads_dropped_[t],
            " heads at scale ", t, " after ", heads_dropped_[t - 1]));
      }
    }
    return absl::OkStatus();
  }

  Departure& departure(int source_scale, HeadIndex head) {
    return departures_[(static_cast<std::size_t>(source_scale -
                                                 ladder_.first_prunable()) *
                            layers_ +
                        head.layer) *
                           heads_ +
                       head.head];
  }

  // The segments that F_t adds to F_{t-1}; those of older scales also as
  // candidates to leave early, in the order in which they would.
  std::vector<Candidate> DropAtScale(int t) {
    std::vector<Candidate> candidates;
    const int end = std::min(t + 1, ladder_.end_prunable());
    for (int s = ladder_.first_prunable(); s < end; ++s) {
      const int begin = s == t ? 0 : heads_dropped_[t];
      for (int rank = begin; rank < heads_dropped_[t + 1]; ++rank) {
        const HeadIndex head = ranking_.order(s)[rank];
        departure(s, head) = {
            .scale = static_cast<std::int16_t>(t),
            .after_layer = static_cast<std::int16_t>(head.layer)};
        if (s < t) candidates.push_back({s, rank, head});
      }
    }
    std::sort(candidates.begin(), candidates.end(),
              [](const Candidate& a, const Candidate& b) {
                return std::tuple(-a.head.layer, -a.source_scale, a.rank) <
                       std::tuple(-b.head.layer, -b.source_scale, b.rank);
              });
    return candidates;
  }

  absl::Status WalkScale(int t) {
    const std::vector<Candidate> candidates = DropAtScale(t);
    // Tokens that leave, and that are written, as a layer is passed.
    std::vector<std::int64_t> leaving(layers_, 0);
    std::vector<std::int64_t> written(layers_, 0);
    for (const Candidate& c : candidates) {
      leaving[c.head.layer] += ladder_.tokens(c.source_scale);
    }
    const bool is_sink = t < ladder_.sink_scales();
    for (int layer = 0; layer < layers_ && !is_sink; ++layer) {
      for (int head = 0; head < heads_; ++head) {
        const HeadIndex index{.layer = layer, .head = head};
        if (departure(t, index).scale != t) written[layer] += ladder_.tokens(t);
      }
    }

    std::size_t next = 0;  // candidates before it have left early
    for (int layer = 0; layer < layers_; ++layer) {
      tokens_ += written[layer] - leaving[layer];
      while (tokens_ > allowed_ && next < candidates.size() &&
             candidates[next].head.layer > layer) {
        const Candidate& c = candidates[next++];
        tokens_ -= ladder_.tokens(c.source_scale);
        leaving[c.head.layer] -= ladder_.tokens(c.source_scale);
        departure(c.source_scale, c.head).after_layer =
            static_cast<std::int16_t>(layer);
        early_drops_[t].push_back({.after_layer = layer,
                                   .source_scale = c.source_scale,
                                   .head = c.head});
      }
      if (tokens_ > allowed_) {
        return Infeasible(budget_, t, static_cast<double>(tokens_), allowed_);
      }
    }
    // Sinks are counted once their scale is complete.
    if (is_sink) tokens_ += ladder_.tokens(t) * layers_ * heads_;
    return absl::OkStatus();
  }

  const ScaleLadder& ladder_;
  const int layers_;
  const int heads_;
  const Ranking& ranking_;
  const Budget& budget_;
  const double allowed_;  // Theta
  std::vector<int> heads_dropped_;
  std::vector<Departure> departures_;
  std::vector<std::vector<EarlyDrop>> early_drops_;
  std::int64_t tokens_ = 0;  // in the cache, all layers together
};

}  // namespace

absl::StatusOr<Schedule> SolveHeatKv(const ScaleLadder& ladder, int layers,
                                     int heads, const Ranking& ranking,
                                     const Budget& budget) {
  RETURN_IF_ERROR(CheckRanking(ladder, layers, heads, ranking));
  if (budget.is_below_sinks(ladder)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "budget ", budget.ToString(), " is ", budget.tokens_a_head(ladder),
        " tokens a head, but the ", ladder.sink_scales(), " sink scales are ",
        ladder.sink_tokens(), " tokens, which every head keeps"));
  }
  return Solver(ladder, layers, heads, ranking, budget).Solve();
}

}  // namespace heatkv::cache
