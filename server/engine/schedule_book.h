// The schedules that a server can run: one for each ladder of its model and
// each tier, with the trajectories that tell to the block what an image under
// it will hold.  Made once, at the start; looked up by every request.
//
// An immutable value, safe to read from any thread.

#ifndef SERVER_ENGINE_SCHEDULE_BOOK_H_
#define SERVER_ENGINE_SCHEDULE_BOOK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cache/budget.h"
#include "cache/geometry.h"
#include "cache/ranking.h"
#include "cache/schedule.h"
#include "cache/trajectory.h"
#include "model/api/model_spec.h"

namespace heatkv::server {

// A named budget that a client may ask for.
struct TierSpec {
  std::string name;
  cache::Budget budget = cache::Budget::Full();

  friend bool operator==(const TierSpec&, const TierSpec&) = default;
};

// Everything that is fixed about images of one ladder and tier.  The schedule
// and the trajectories are shared with the images that follow them.
struct TierPlan {
  std::shared_ptr<const cache::Schedule> schedule;
  std::string schedule_sha256;
  std::shared_ptr<const cache::Trajectory> unguided;  // one branch
  std::shared_ptr<const cache::Trajectory> guided;    // two branches

  const std::shared_ptr<const cache::Trajectory>& trajectory(
      int branches) const {
    return branches == 2 ? guided : unguided;
  }
};

class ScheduleBook {
 public:
  // The hash of a schedule, in hex.
  using ScheduleHash = std::function<std::string(const cache::Schedule&)>;

  // A budget of 1 is the full schedule and needs no ranking.  For others
  // `ranking` must cover every ladder's source scales; a ladder with fewer
  // scales than were ranked uses the first of them.
  //
  // Fails with InvalidArgument, naming tier, ladder and both numbers, if a
  // budget is below the sinks, if there is no ranking or one of too few scales
  // or of another model, if two tiers share a name, or if there is no tier.
  static absl::StatusOr<ScheduleBook> Create(
      const model::ModelSpec& spec, const cache::CacheGeometry& geometry,
      const cache::Ranking* ranking, std::vector<TierSpec> tiers,
      const ScheduleHash& hash);

  const std::vector<TierSpec>& tiers() const { return tiers_; }
  const cache::CacheGeometry& geometry() const { return geometry_; }

  // Index of the tier called `name`.
  std::optional<int> FindTier(absl::string_view name) const;

  // REQUIRES: both indices are in range.
  const TierPlan& plan(int ladder, int tier) const {
    return plans_[ladder * tiers_.size() + tier];
  }

 private:
  ScheduleBook(const cache::CacheGeometry& geometry,
               std::vector<TierSpec> tiers)
      : geometry_(geometry), tiers_(std::move(tiers)) {}

  cache::CacheGeometry geometry_;
  std::vector<TierSpec> tiers_;
  std::vector<TierPlan> plans_;  // [ladder][tier]
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_SCHEDULE_BOOK_H_
