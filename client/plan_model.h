// What a plan starts from: a model folder, one of its ladders, and a ranking.
//
// Stateless; any thread may call these functions.

#ifndef CLIENT_PLAN_MODEL_H_
#define CLIENT_PLAN_MODEL_H_

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/budget.h"
#include "cache/geometry.h"
#include "cache/ladder.h"
#include "cache/ranking.h"
#include "cache/schedule.h"
#include "client/plan_report.h"
#include "model/api/model_spec.h"

namespace heatkv::client {

struct PlannedModel {
  std::filesystem::path folder;
  model::ModelSpec spec;
  cache::CacheGeometry geometry;  // with the request's cache dtype
};

// Fails with NotFound if there is no such model, and as the reader of
// model.yaml does.
absl::StatusOr<PlannedModel> LoadPlannedModel(const PlanRequest& request);

// The ladder of the request's aspect and pixel class, with its sinks.  Fails
// with NotFound, listing what there is.
absl::StatusOr<model::LadderSpec> FindLadder(const model::ModelSpec& spec,
                                             const PlanRequest& request);

// The ranking that the request names, or the model's own.  Writes the name of
// its file, and adds what a reader should know about it to `notes`.  Fails with
// InvalidArgument if there is none, or as its reader does.
absl::StatusOr<cache::Ranking> ReadRanking(const PlannedModel& model,
                                           const PlanRequest& request,
                                           const model::LadderSpec& ladder,
                                           std::string* file,
                                           std::vector<std::string>* notes);

// cache::SolveHeatKv; a ranking of more scales than the ladder has is cut, and
// a note says so.
absl::StatusOr<cache::Schedule> SolveForLadder(const cache::ScaleLadder& ladder,
                                               const cache::Budget& budget,
                                               cache::Ranking ranking,
                                               int layers, int heads,
                                               std::vector<std::string>* notes);

// The heads in the order of their numbers: a ranking that says nothing about
// importance.  For what a budget means in bytes, which depends on how many
// heads drop a scale and hardly on which.
cache::Ranking LayerOrder(const cache::CacheGeometry& geometry,
                          const cache::ScaleLadder& ladder);

}  // namespace heatkv::client

#endif  // CLIENT_PLAN_MODEL_H_
