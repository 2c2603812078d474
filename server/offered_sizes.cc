#include "server/offered_sizes.h"

#include <algorithm>
#include <map>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace heatkv::server {
namespace {

// Why a ladder cannot have all tiers; empty if it can.
std::string Obstacle(const model::LadderSpec& ladder,
                     const std::vector<TierSpec>& tiers) {
  for (const TierSpec& tier : tiers) {
    if (!tier.budget.is_below_sinks(ladder.ladder)) continue;
    return absl::StrCat(ladder.pixel_class, ": tier \"", tier.name, "\" at ",
                        ladder.aspect, " is ",
                        tier.budget.tokens_a_head(ladder.ladder),
                        " tokens a head, less than the ",
                        ladder.ladder.sink_tokens(), " of the sink scales");
  }
  return "";
}

// The classes that cannot have all tiers, with the reason.
std::map<std::string, std::string> Obstacles(
    const model::ModelSpec& spec, const std::vector<TierSpec>& tiers) {
  std::map<std::string, std::string> obstacles;
  for (const model::LadderSpec& ladder : spec.ladders) {
    // Whoever has a mistake in a tier must hear of it.
    if (ladder.pixel_class == spec.ladders.front().pixel_class) continue;
    std::string obstacle = Obstacle(ladder, tiers);
    if (!obstacle.empty()) {
      obstacles.emplace(ladder.pixel_class, std::move(obstacle));
    }
  }
  return obstacles;
}

}  // namespace

absl::StatusOr<OfferedSizes> OfferSizes(
    const model::ModelSpec& spec, const std::vector<TierSpec>& tiers,
    const std::vector<std::string>& pixel_classes) {
  std::vector<std::string> known;
  for (const model::LadderSpec& ladder : spec.ladders) {
    if (!absl::c_linear_search(known, ladder.pixel_class)) {
      known.push_back(ladder.pixel_class);
    }
  }
  for (const std::string& name : pixel_classes) {
    if (!absl::c_linear_search(known, name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("pixel_classes has \"", name, "\", but ", spec.name,
                       " has only: ", absl::StrJoin(known, ", ")));
    }
  }
  OfferedSizes offered;
  std::map<std::string, std::string> obstacles;
  if (pixel_classes.empty()) obstacles = Obstacles(spec, tiers);
  for (const auto& [name, obstacle] : obstacles) {
    offered.left_out.push_back(obstacle);
  }
  for (const model::LadderSpec& ladder : spec.ladders) {
    const bool is_offered =
        pixel_classes.empty()
            ? !obstacles.contains(ladder.pixel_class)
            : absl::c_linear_search(pixel_classes, ladder.pixel_class);
    if (is_offered) offered.ladders.push_back(ladder);
  }
  return offered;
}

}  // namespace heatkv::server
