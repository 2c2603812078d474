// The ladder: the grids of tokens, coarse to fine, through which one aspect
// ratio and pixel class is generated.  Everything the cache plans follows from
// these counts, because they are fixed before a request starts.
//
// An immutable value, safe to share between threads.

#ifndef CACHE_LADDER_H_
#define CACHE_LADDER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

namespace heatkv::cache {

// The tokens of one scale.
struct Grid {
  int height = 1;
  int width = 1;

  std::int64_t tokens() const { return std::int64_t{height} * width; }
  friend bool operator==(const Grid&, const Grid&) = default;
};

class ScaleLadder {
 public:
  // `sink_scales` is the number of first scales that every head always keeps.
  //
  // Fails with InvalidArgument if there are fewer than two scales, if a side is
  // less than 1, if scales shrink (a side smaller than the one before), or if
  // `sink_scales` is not in [1, number of scales - 1].
  static absl::StatusOr<ScaleLadder> Create(std::vector<Grid> grids,
                                            int sink_scales);

  int num_scales() const { return static_cast<int>(grids_.size()); }
  int sink_scales() const { return sink_scales_; }
  const std::vector<Grid>& grids() const { return grids_; }
  const Grid& grid(int scale) const { return grids_[scale]; }

  std::int64_t tokens(int scale) const { return grids_[scale].tokens(); }

  // T(t): tokens of all scales before `scale`.  `scale` may be num_scales().
  std::int64_t tokens_before(int scale) const { return before_[scale]; }

  // T*: tokens of all scales but the last, whose keys and values nobody reads
  // again.  The full cache of one head.
  std::int64_t full_tokens() const { return before_[num_scales() - 1]; }

  // R: tokens of the sink scales.
  std::int64_t sink_tokens() const { return before_[sink_scales_]; }

  // Source scales that a schedule may drop: first_prunable() <= s <
  // end_prunable().  Empty if only the last scale is no sink.
  int first_prunable() const { return sink_scales_; }
  int end_prunable() const { return num_scales() - 1; }

  friend bool operator==(const ScaleLadder&, const ScaleLadder&) = default;

 private:
  ScaleLadder(std::vector<Grid> grids, int sink_scales);

  std::vector<Grid> grids_;
  std::vector<std::int64_t> before_;  // size num_scales() + 1
  int sink_scales_;
};

}  // namespace heatkv::cache

#endif  // CACHE_LADDER_H_
