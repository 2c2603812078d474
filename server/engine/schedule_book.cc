#include "server/engine/schedule_book.h"

#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "cache/heatkv_solver.h"

namespace heatkv::server {
namespace {

absl::StatusOr<cache::Schedule> MakeSchedule(
    const cache::ScaleLadder& ladder, const cache::CacheGeometry& geometry,
    const cache::Ranking* ranking, const cache::Budget& budget) {
  if (budget.fraction() == 1.0) {
    return cache::FullSchedule(ladder, geometry.layers, geometry.heads);
  }
  if (budget.is_below_sinks(ladder)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the budget ", budget.ToString(), " is ", budget.tokens_a_head(ladder),
        " tokens a head, less than the ", ladder.sink_tokens(),
        " tokens of the ", ladder.sink_scales(),
        " sink scales, which every head keeps"));
  }
  if (ranking == nullptr) {
    return absl::InvalidArgumentError(
        "the model has no profile, so only a budget of 1 can be scheduled");
  }
  if (ranking->end_source_scale() == ladder.end_prunable()) {
    return cache::SolveHeatKv(ladder, geometry.layers, geometry.heads, *ranking,
                              budget);
  }
  ASSIGN_OR_RETURN(const cache::Ranking prefix,
                   ranking->Prefix(ladder.end_prunable()));
  return cache::SolveHeatKv(ladder, geometry.layers, geometry.heads, prefix,
                            budget);
}

}  // namespace

absl::StatusOr<ScheduleBook> ScheduleBook::Create(
    const model::ModelSpec& spec, const cache::CacheGeometry& geometry,
    const cache::Ranking* ranking, std::vector<TierSpec> tiers,
    const ScheduleHash& hash) {
  if (tiers.empty()) return absl::InvalidArgumentError("there is no tier");
  std::set<std::string> names;
  for (const TierSpec& tier : tiers) {
    if (!names.insert(tier.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("two tiers are called \"", tier.name, "\""));
    }
  }
  ScheduleBook book(geometry, std::move(tiers));
  for (const model::LadderSpec& ladder : spec.ladders) {
    for (const TierSpec& tier : book.tiers_) {
      absl::StatusOr<cache::Schedule> schedule =
          MakeSchedule(ladder.ladder, geometry, ranking, tier.budget);
      if (!schedule.ok()) {
        return absl::Status(schedule.status().code(),
                            absl::StrCat("tier \"", tier.name, "\" at ",
                                         ladder.aspect, " ", ladder.pixel_class,
                                         ": ", schedule.status().message()));
      }
      TierPlan plan;
      plan.schedule =
          std::make_shared<const cache::Schedule>(*std::move(schedule));
      plan.schedule_sha256 = hash(*plan.schedule);
      plan.unguided =
          std::make_shared<const cache::Trajectory>(plan.schedule, geometry, 1);
      plan.guided =
          std::make_shared<const cache::Trajectory>(plan.schedule, geometry, 2);
      book.plans_.push_back(std::move(plan));
    }
  }
  return book;
}

std::optional<int> ScheduleBook::FindTier(absl::string_view name) const {
  for (std::size_t i = 0; i < tiers_.size(); ++i) {
    if (tiers_[i].name == name) return static_cast<int>(i);
  }
  return std::nullopt;
}

}  // namespace heatkv::server
