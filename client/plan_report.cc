#include "client/plan_report.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "cache/budget.h"
#include "cache/heatkv_solver.h"
#include "cache/ranking.h"
#include "calibration/orders_file.h"
#include "calibration/profile.h"
#include "server/config/model_yaml.h"

namespace heatkv::client {
namespace {

namespace fs = std::filesystem;

bool IsModelFolder(const fs::path& folder) {
  std::error_code error;
  return fs::is_regular_file(folder / "model.yaml", error);
}

absl::StatusOr<fs::path> FindModel(const PlanRequest& request) {
  if (IsModelFolder(request.model)) return fs::path(request.model);
  if (!request.models.empty()) {
    const fs::path folder = request.models / request.model;
    if (IsModelFolder(folder)) return folder;
    return absl::NotFoundError(
        absl::StrCat("no model.yaml in ", folder.string()));
  }
  for (fs::path above = request.program; !above.empty();
       above = above.parent_path()) {
    const fs::path folder = above / "models" / request.model;
    if (IsModelFolder(folder)) return folder;
    if (above == above.parent_path()) break;
  }
  return absl::NotFoundError(
      absl::StrCat("no model '", request.model,
                   "': neither a folder with a model.yaml nor "
                   "a name in a folder 'models' beside or above the program"));
}

absl::StatusOr<model::LadderSpec> FindLadder(const model::ModelSpec& spec,
                                             const PlanRequest& request) {
  const std::string aspect =
      request.aspect.empty() ? spec.ladders.front().aspect : request.aspect;
  std::vector<std::string> known;
  for (const model::LadderSpec& candidate : spec.ladders) {
    known.push_back(
        absl::StrCat(candidate.aspect, " at ", candidate.pixel_class));
    if (candidate.aspect != aspect ||
        (!request.pixel_class.empty() &&
         candidate.pixel_class != request.pixel_class)) {
      continue;
    }
    model::LadderSpec ladder = candidate;
    if (request.sink_scales.has_value()) {
      ASSIGN_OR_RETURN(ladder.ladder,
                       cache::ScaleLadder::Create(ladder.ladder.grids(),
                                                  *request.sink_scales));
    }
    return ladder;
  }
  return absl::NotFoundError(absl::StrCat(
      "model ", spec.name, " has no ladder ", aspect,
      request.pixel_class.empty() ? "" : " at ", request.pixel_class,
      "; it has ", absl::StrJoin(known, ", ")));
}

// An orders file does not say for how many sink scales it was made; its length
// does, if it was made for this ladder or for the model's longest one of the
// aspect.
absl::StatusOr<cache::Ranking> ReadOrders(const model::ModelSpec& spec,
                                          const fs::path& file,
                                          const model::LadderSpec& ladder) {
  const int sinks = ladder.ladder.sink_scales();
  ASSIGN_OR_RETURN(cache::Ranking ranking,
                   calibration::ReadOrders(file, spec.transformer.depth,
                                           spec.transformer.heads, sinks));
  int longest = ladder.ladder.num_scales();
  for (const model::LadderSpec& other : spec.ladders) {
    if (other.aspect == ladder.aspect) {
      longest = std::max(longest, other.ladder.num_scales());
    }
  }
  const int ranked = ranking.end_source_scale() - sinks;
  const int own = ladder.ladder.num_scales() - 1 - sinks;
  if (ranked != own && ranked != longest - 1 - sinks) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.string(), ": ", ranked, " source scales, but with ",
                     sinks, " sink scales the ladder has ", own,
                     " and the model's longest one ", longest - 1 - sinks));
  }
  return ranking;
}

absl::StatusOr<cache::Ranking> ReadRanking(const model::ModelSpec& spec,
                                           const fs::path& folder,
                                           const PlanRequest& request,
                                           const model::LadderSpec& ladder,
                                           std::string* file,
                                           std::vector<std::string>* notes) {
  if (!request.orders.empty() && !request.profile.empty()) {
    return absl::InvalidArgumentError(
        "give an orders file or a profile, not both");
  }
  if (!request.orders.empty()) {
    *file = request.orders.string();
    return ReadOrders(spec, request.orders, ladder);
  }
  if (request.profile.empty() && spec.profile.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model ", spec.name, " names no profile: give --orders or --profile"));
  }
  const fs::path path =
      request.profile.empty() ? folder / spec.profile : request.profile;
  *file = path.string();
  ASSIGN_OR_RETURN(calibration::Profile profile,
                   calibration::ReadProfile(path));
  if (profile.aspect != ladder.aspect ||
      profile.pixel_class != ladder.pixel_class) {
    notes->push_back(absl::StrCat("The ranking was measured on ",
                                  profile.aspect, " at ", profile.pixel_class,
                                  "."));
  }
  return std::move(profile.ranking);
}

absl::StatusOr<cache::Schedule> Solve(const cache::ScaleLadder& ladder,
                                      const cache::Budget& budget,
                                      cache::Ranking ranking, int layers,
                                      int heads,
                                      std::vector<std::string>* notes) {
  const int ranked = ranking.end_source_scale();
  if (ranking.first_source_scale() == ladder.first_prunable() &&
      ranked > ladder.end_prunable() &&
      ladder.end_prunable() > ladder.first_prunable()) {
    ASSIGN_OR_RETURN(ranking, ranking.Prefix(ladder.end_prunable()));
    notes->push_back(absl::StrCat(
        "The ranking was made for ", ranked + 1,
        " scales; its first source scales are used for this ladder of ",
        ladder.num_scales(), "."));
  }
  return cache::SolveHeatKv(ladder, layers, heads, ranking, budget);
}

}  // namespace

absl::StatusOr<PlanReport> MakePlanReport(const PlanRequest& request) {
  ASSIGN_OR_RETURN(const cache::Budget budget,
                   cache::Budget::Parse(request.budget));
  ASSIGN_OR_RETURN(const fs::path folder, FindModel(request));
  ASSIGN_OR_RETURN(const model::ModelSpec spec, server::LoadModelSpec(folder));
  ASSIGN_OR_RETURN(model::LadderSpec ladder, FindLadder(spec, request));
  const cache::CacheGeometry geometry{
      .layers = spec.transformer.depth,
      .heads = spec.transformer.heads,
      .head_width = spec.transformer.head_width(),
      .bytes_per_value = request.bytes_per_value};

  std::string file;
  std::vector<std::string> notes;
  std::shared_ptr<const cache::Schedule> schedule;
  const bool has_ranking = !request.orders.empty() || !request.profile.empty();
  if (budget == cache::Budget::Full() && !has_ranking) {
    schedule = std::make_shared<const cache::Schedule>(
        cache::FullSchedule(ladder.ladder, geometry.layers, geometry.heads));
  } else {
    ASSIGN_OR_RETURN(cache::Ranking ranking,
                     ReadRanking(spec, folder, request, ladder, &file, &notes));
    ASSIGN_OR_RETURN(cache::Schedule solved,
                     Solve(ladder.ladder, budget, std::move(ranking),
                           geometry.layers, geometry.heads, &notes));
    schedule = std::make_shared<const cache::Schedule>(std::move(solved));
  }
  return PlanReport{
      .model = spec.name,
      .ladder = std::move(ladder),
      .pixels_per_token = spec.pixels_per_token(),
      .ranking = std::move(file),
      .notes = std::move(notes),
      .schedule = schedule,
      .trajectory = cache::Trajectory(schedule, geometry, request.branches)};
}

}  // namespace heatkv::client
