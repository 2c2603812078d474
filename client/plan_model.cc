#include "client/plan_model.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "cache/heatkv_solver.h"
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

}  // namespace

absl::StatusOr<PlannedModel> LoadPlannedModel(const PlanRequest& request) {
  PlannedModel model;
  ASSIGN_OR_RETURN(model.folder, FindModel(request));
  ASSIGN_OR_RETURN(model.spec, server::LoadModelSpec(model.folder));
  model.geometry = {.layers = model.spec.transformer.depth,
                    .heads = model.spec.transformer.heads,
                    .head_width = model.spec.transformer.head_width(),
                    .bytes_per_value = request.bytes_per_value};
  return model;
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

absl::StatusOr<cache::Ranking> ReadRanking(const PlannedModel& model,
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
    return ReadOrders(model.spec, request.orders, ladder);
  }
  if (request.profile.empty() && model.spec.profile.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("model ", model.spec.name,
                     " names no profile: give --orders or --profile"));
  }
  const fs::path path = request.profile.empty()
                            ? model.folder / model.spec.profile
                            : request.profile;
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

absl::StatusOr<cache::Schedule> SolveForLadder(
    const cache::ScaleLadder& ladder, const cache::Budget& budget,
    cache::Ranking ranking, int layers, int heads,
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

cache::Ranking LayerOrder(const cache::CacheGeometry& geometry,
                          const cache::ScaleLadder& ladder) {
  std::vector<cache::HeadIndex> order;
  for (int layer = 0; layer < geometry.layers; ++layer) {
    for (int head = 0; head < geometry.heads; ++head) {
      order.push_back({layer, head});
    }
  }
  const int scales = ladder.end_prunable() - ladder.first_prunable();
  absl::StatusOr<cache::Ranking> ranking = cache::Ranking::Create(
      geometry.layers, geometry.heads, ladder.first_prunable(),
      std::vector<std::vector<cache::HeadIndex>>(scales, order));
  HEATKV_CHECK_OK(ranking.status());
  return *std::move(ranking);
}

}  // namespace heatkv::client
