#include "client/plan_report.h"

#include <utility>

#include "base/status_macros.h"
#include "cache/budget.h"
#include "cache/ranking.h"
#include "client/plan_model.h"

namespace heatkv::client {

absl::StatusOr<PlanReport> MakePlanReport(const PlanRequest& request) {
  ASSIGN_OR_RETURN(const cache::Budget budget,
                   cache::Budget::Parse(request.budget));
  ASSIGN_OR_RETURN(const PlannedModel model, LoadPlannedModel(request));
  const model::ModelSpec& spec = model.spec;
  const cache::CacheGeometry& geometry = model.geometry;
  ASSIGN_OR_RETURN(model::LadderSpec ladder, FindLadder(spec, request));

  std::string file;
  std::vector<std::string> notes;
  std::shared_ptr<const cache::Schedule> schedule;
  const bool has_ranking = !request.orders.empty() || !request.profile.empty();
  if (budget == cache::Budget::Full() && !has_ranking) {
    schedule = std::make_shared<const cache::Schedule>(
        cache::FullSchedule(ladder.ladder, geometry.layers, geometry.heads));
  } else {
    ASSIGN_OR_RETURN(cache::Ranking ranking,
                     ReadRanking(model, request, ladder, &file, &notes));
    ASSIGN_OR_RETURN(cache::Schedule solved,
                     SolveForLadder(ladder.ladder, budget, std::move(ranking),
                                    geometry.layers, geometry.heads, &notes));
    schedule = std::make_shared<const cache::Schedule>(std::move(solved));
  }
  model::ModelSpec only = spec;
  only.ladders = {ladder};
  return PlanReport{
      .model = spec.name,
      .spec = std::move(only),
      .ladder = std::move(ladder),
      .pixels_per_token = spec.pixels_per_token(),
      .ranking = std::move(file),
      .notes = std::move(notes),
      .schedule = schedule,
      .trajectory = cache::Trajectory(schedule, geometry, request.branches)};
}

}  // namespace heatkv::client
