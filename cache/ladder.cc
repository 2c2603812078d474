#include "cache/ladder.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace heatkv::cache {

absl::StatusOr<ScaleLadder> ScaleLadder::Create(std::vector<Grid> grids,
                                                int sink_scales) {
  const int count = static_cast<int>(grids.size());
  if (count < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("a ladder needs at least 2 scales, but has ", count));
  }
  for (int s = 0; s < count; ++s) {
    const Grid& grid = grids[s];
    if (grid.height < 1 || grid.width < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("scale ", s, ": a side must be at least 1, but is ",
                       grid.height, "x", grid.width));
    }
    if (s > 0 && (grid.height < grids[s - 1].height ||
                  grid.width < grids[s - 1].width)) {
      return absl::InvalidArgumentError(
          absl::StrCat("scale ", s, ": ", grid.height, "x", grid.width,
                       " is smaller than scale ", s - 1, ": ",
                       grids[s - 1].height, "x", grids[s - 1].width));
    }
  }
  if (sink_scales < 1 || sink_scales > count - 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("sink scales must be in [1, ", count - 1,
                     "] for a ladder of ", count, ", but are ", sink_scales));
  }
  return ScaleLadder(std::move(grids), sink_scales);
}

ScaleLadder::ScaleLadder(std::vector<Grid> grids, int sink_scales)
    : grids_(std::move(grids)), sink_scales_(sink_scales) {
  before_.push_back(0);
  for (const Grid& grid : grids_) {
    before_.push_back(before_.back() + grid.tokens());
  }
}

}  // namespace heatkv::cache
