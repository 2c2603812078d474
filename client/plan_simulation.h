// `heatkv plan --simulate`: how many requests a device holds at once, and how
// long a random load waits, by running the server's own scheduler against step
// costs (server/engine/simulator.h).  Needs no server, no weights, no GPU.
//
// Stateless; any thread may call these functions.

#ifndef CLIENT_PLAN_SIMULATION_H_
#define CLIENT_PLAN_SIMULATION_H_

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "client/occupancy_plot.h"
#include "client/plan_report.h"
#include "nlohmann/json.hpp"
#include "server/engine/simulated_load.h"

namespace heatkv::client {

// One member of a mix.
struct MixShare {
  std::string name;
  double share = 1;  // above 0; of any sum
};

// Reads "0.1=3,0.2": names with shares, 1 if none is given.  Fails with
// InvalidArgument, quoting the part, if a name is empty or a share is no number
// above 0.
absl::StatusOr<std::vector<MixShare>> ParseMix(std::string_view text);

struct SimulationRequest {
  // Model, ranking, branches and cache dtype.
  PlanRequest plan;
  // Budgets, and aspects ("1:1") with or without a pixel class ("1:1@0.25M").
  // No aspects: that of `plan`, or the model's first.
  std::string tiers = "0.05,0.1,0.2,1";
  std::string aspects;

  // The capacity table: for pools of these bytes, or for devices of these bytes
  // of which `reserve_bytes` are not the pool's.  Pools win.
  std::vector<std::uint64_t> pools;
  std::vector<std::uint64_t> devices = {24'000'000'000, 40'000'000'000,
                                        80'000'000'000, 141'000'000'000};
  std::uint64_t reserve_bytes = 12'000'000'000;

  // The load.
  std::uint64_t pool_bytes = 0;  // 0: 8 images of the largest kind
  int max_running = 32;          // images in flight
  int requests = 2000;
  double rate = 0;    // a second; 0: `load`
  double load = 0.8;  // times what the device can do
  bool saturate = false;
  double cancel_share = 0;
  std::uint64_t seed = 1;
  std::string policy = "both";  // "latency", "preview"
  std::string rule = "safe";    // "peaks", "both"
  std::filesystem::path costs;  // empty: ModeledCosts
  bool capacity_table = true;
};

// How many identical images a pool holds at once.
struct CapacityCell {
  // Whatever they do: the pool divided by the peak of one.
  std::int64_t by_peaks = 0;
  // When each has all the scales behind it that run in groups, the small ones,
  // and one at a time goes on to its end: the most for which that is a safe
  // state (cache::SafeCapacity).
  std::int64_t safe = 0;
};

// The first scale that an image does alone, or the last one.
int FirstScaleAlone(const model::ModelSpec& spec, int ladder, int branches);

// `rest_scale` is the scale before which the images stand.
CapacityCell CapacityOf(std::int64_t limit_blocks,
                        const cache::Trajectory& trajectory, int rest_scale);

struct CapacityRow {
  std::string size;  // "1024x1024"
  std::string tier;  // "10 %"
  std::int64_t peak_bytes = 0;
  std::vector<CapacityCell> cells;  // by pool; none if the tier cannot be had
  std::string why_not;
};

struct SimulationRun {
  std::string policy;
  std::string rule;
  server::SimulationReport report;
  server::LoadSummary summary;
};

struct SimulationPlan {
  std::string model;
  std::string costs;
  std::vector<std::string> notes;

  std::vector<std::int64_t> pools;   // bytes
  std::vector<std::string> columns;  // what the pools are
  std::vector<CapacityRow> capacity;

  std::int64_t pool_bytes = 0;
  std::int64_t pool_blocks = 0;
  std::int64_t block_bytes = 0;
  int max_running = 0;
  double saturated_rate = 0;  // images a second, policy latency
  double rate = 0;            // requests a second; 0 if saturated
  int requests = 0;
  std::vector<SimulationRun> runs;
};

// Fails with InvalidArgument and NotFound as MakePlanReport does, and if a mix
// or a number cannot be used.
absl::StatusOr<SimulationPlan> MakeSimulationPlan(
    const SimulationRequest& request);

// For people, with bars of the pool's occupancy; for a README, tables only;
// for programs.
std::string ToText(const SimulationPlan& plan);
std::string ToMarkdown(const SimulationPlan& plan);
nlohmann::ordered_json ToJson(const SimulationPlan& plan);

// What PlotOccupancy draws of it.
std::vector<PlottedRun> ToPlot(const SimulationPlan& plan);

}  // namespace heatkv::client

#endif  // CLIENT_PLAN_SIMULATION_H_
