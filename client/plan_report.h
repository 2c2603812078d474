// `heatkv plan`: what a budget means for a model, before anything is started.
//
// Reads a model folder and a ranking, solves the schedule and rehearses it: the
// blocks and bytes that an image holds at every scale, exactly as the server
// will count them.  Needs no server, no weights and no GPU.
//
// Stateless; any thread may call these functions.

#ifndef CLIENT_PLAN_REPORT_H_
#define CLIENT_PLAN_REPORT_H_

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/schedule.h"
#include "cache/trajectory.h"
#include "model/api/model_spec.h"
#include "nlohmann/json.hpp"

namespace heatkv::client {

struct PlanRequest {
  // A folder with a model.yaml, or the name of one under `models`.
  std::string model;
  // Where models lie.  If empty: the folder "models" beside, or the nearest
  // above, `program`.
  std::filesystem::path models;
  std::filesystem::path program;  // the folder of the running program

  // The ranking: an orders file of the authors, or a profile.  If both are
  // empty, the profile that the model folder names.  Not both.
  std::filesystem::path orders;
  std::filesystem::path profile;

  std::string budget;  // a fraction, as a decimal number: "0.1"

  std::string aspect;       // empty: that of the model's first ladder
  std::string pixel_class;  // empty: the model's first one with the aspect
  std::optional<int> sink_scales;  // none: what the model says

  int branches = 2;         // 2 under guidance, else 1
  int bytes_per_value = 2;  // of the cache dtype
};

struct PlanReport {
  std::string model;
  model::ModelSpec spec;  // with this ladder only
  model::LadderSpec ladder;
  int pixels_per_token = 0;
  std::string ranking;  // the file; empty for the full cache
  // What a reader should know about the ranking, one sentence each.
  std::vector<std::string> notes;
  // Shared with the trajectory.
  std::shared_ptr<const cache::Schedule> schedule;
  cache::Trajectory trajectory;
};

// Fails with NotFound if a file or the ladder does not exist (the message lists
// what there is), and with InvalidArgument for everything that the readers and
// the solver refuse.
absl::StatusOr<PlanReport> MakePlanReport(const PlanRequest& request);

// A table for people.
std::string ToTable(const PlanReport& report);

// The schedule in the form of calibration/schedule_file.h, and one more member:
//   plan  {aspect, pixel_class, branches, block_tokens, block_bytes,
//          full_cache_bytes, peak_blocks, peak_bytes, peak_share,
//          scales: [{scale, grid, tokens, blocks_before, blocks_peak,
//                    blocks_after, bytes_peak, bytes_after}]}
nlohmann::ordered_json ToJson(const PlanReport& report);

}  // namespace heatkv::client

#endif  // CLIENT_PLAN_REPORT_H_
