// The ranking: for each source scale that a schedule may drop, all heads of
// the model from the least to the most important.
//
// It is what a schedule needs of a calibration; where it comes from (a profile,
// the authors' published orders) is calibration/'s matter.  It does not know
// the grids of the ladder that it was measured on, only the range of scales.
//
// An immutable value, safe to share between threads.

#ifndef CACHE_RANKING_H_
#define CACHE_RANKING_H_

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/geometry.h"

namespace heatkv::cache {

class Ranking {
 public:
  // orders[i] lists every head of the model once, ascending by importance for
  // source scale `first_source_scale` + i.
  //
  // Fails with InvalidArgument, naming the source scale and both numbers, if a
  // list has another length than layers * heads, names a head that the model
  // does not have, or names one twice; and if there is no list, or a dimension
  // is less than 1.
  static absl::StatusOr<Ranking> Create(
      int layers, int heads, int first_source_scale,
      std::vector<std::vector<HeadIndex>> orders);

  int layers() const { return layers_; }
  int heads() const { return heads_; }

  // Source scales that are ranked: first_source_scale() <= s <
  // end_source_scale().
  int first_source_scale() const { return first_source_scale_; }
  int end_source_scale() const {
    return first_source_scale_ + static_cast<int>(orders_.size());
  }

  // All heads, ascending by importance.
  std::span<const HeadIndex> order(int source_scale) const {
    return orders_[source_scale - first_source_scale_];
  }

  // The same ranking for fewer source scales, as a smaller pixel class of the
  // same model needs.  Fails with InvalidArgument, naming both numbers, unless
  // first_source_scale() < `end_source_scale` <= end_source_scale().
  absl::StatusOr<Ranking> Prefix(int end_source_scale) const;

  friend bool operator==(const Ranking&, const Ranking&) = default;

 private:
  Ranking(int layers, int heads, int first_source_scale,
          std::vector<std::vector<HeadIndex>> orders);

  int layers_;
  int heads_;
  int first_source_scale_;
  std::vector<std::vector<HeadIndex>> orders_;
};

// Ranks heads by S-CAS scores: ascending by (score, head, layer), so that equal
// scores rank the same on every machine.  scores[i][layer * heads + head] is
// the score for source scale `first_source_scale` + i.
//
// Fails with InvalidArgument, naming source scale, layer and head, if a score
// is not finite, and, naming both numbers, if a count of scores is wrong.
absl::StatusOr<Ranking> RankingFromScores(
    int layers, int heads, int first_source_scale,
    const std::vector<std::vector<double>>& scores);

}  // namespace heatkv::cache

#endif  // CACHE_RANKING_H_
