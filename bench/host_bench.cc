// heatkv_bench_host: what does a step cost the host before and after the GPU
// computes it?
//
//   heatkv_bench_host --output bench/results/host-step.json
//
// Plans the scales of images of the full-size model (Infinity-2B, 1024x1024,
// under guidance) with the schedule that the GPU's benchmark uses, writes the
// tables of each step and finishes it, with nothing computed in between: no
// torch, no GPU.  Writes one JSON object: milliseconds of each part for each
// scale, medians over repetitions.  On the GPU's machine all of it is time in
// which the GPU may wait.

#include <sys/utsname.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "bench/random_ranking.h"
#include "cache/block_lists.h"
#include "cache/block_pool.h"
#include "cache/heatkv_solver.h"
#include "model/api/model_spec.h"
#include "model/cuda/step_table_layout.h"

ABSL_FLAG(double, budget, 0.1, "fraction of the full cache that may stay");
ABSL_FLAG(int, repeats, 21, "measured repetitions; medians are reported");
ABSL_FLAG(std::uint64_t, seed, 1, "of the ranking");
ABSL_FLAG(std::string, commit, "", "written into the result");
ABSL_FLAG(std::string, output, "",
          "file for the result; empty: standard output");

namespace heatkv::server {
namespace {

using nlohmann::json;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr int kTextTokens = 32;

// What of Infinity-2B shapes a step.
absl::StatusOr<model::ModelSpec> Infinity2b() {
  std::vector<cache::Grid> grids;
  for (const int side : {1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64}) {
    grids.push_back({side, side});
  }
  ASSIGN_OR_RETURN(cache::ScaleLadder ladder,
                   cache::ScaleLadder::Create(grids, /*sink_scales=*/3));
  model::ModelSpec spec;
  spec.name = "infinity-2b";
  spec.transformer.depth = 32;
  spec.transformer.heads = 16;
  spec.transformer.width = 2048;
  spec.ladders.push_back({.aspect = "1:1",
                          .pixel_class = "1M",
                          .rope_grid = grids.back(),
                          .ladder = std::move(ladder)});
  return spec;
}

std::string Processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string System() {
  utsname name;
  HEATKV_CHECK_EQ(uname(&name), 0);
  return absl::StrCat(name.sysname, " ", name.release, " ", name.machine);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

class Bench {
 public:
  absl::Status Prepare();
  // Images that stay at the same scale and run in groups as large as a step
  // takes.
  json Measure(int images);

 private:
  struct Times {
    std::vector<double> plan;
    std::vector<double> tables;
    std::vector<double> finish;
  };
  void RunGroup(std::span<const std::unique_ptr<cache::BlockLists>> lists,
                int scale, int capacity, Times* times);

  model::ModelSpec spec_;
  std::shared_ptr<const cache::Trajectory> trajectory_;
  std::vector<std::int32_t> table_;  // stands for memory that a GPU reads
  std::int64_t spans_ = 0;           // of the group last run
};

absl::Status Bench::Prepare() {
  ASSIGN_OR_RETURN(spec_, Infinity2b());
  const model::TransformerSpec& shape = spec_.transformer;
  const cache::ScaleLadder& ladder = spec_.ladders[0].ladder;
  ASSIGN_OR_RETURN(const cache::Ranking ranking,
                   RandomRanking(ladder, shape.depth, shape.heads,
                                 absl::GetFlag(FLAGS_seed)));
  ASSIGN_OR_RETURN(const cache::Budget budget,
                   cache::Budget::Create(absl::GetFlag(FLAGS_budget)));
  ASSIGN_OR_RETURN(
      cache::Schedule schedule,
      cache::SolveHeatKv(ladder, shape.depth, shape.heads, ranking, budget));
  trajectory_ = std::make_shared<const cache::Trajectory>(
      std::make_shared<const cache::Schedule>(std::move(schedule)),
      cache::CacheGeometry{.layers = shape.depth,
                           .heads = shape.heads,
                           .head_width = shape.head_width(),
                           .bytes_per_value = 2},
      /*branches=*/2);
  return absl::OkStatus();
}

void Bench::RunGroup(std::span<const std::unique_ptr<cache::BlockLists>> lists,
                     int scale, int capacity, Times* times) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  std::vector<cache::StepPlan> plans;
  plans.reserve(lists.size());
  for (const auto& list : lists) plans.push_back(list->PlanStep(scale));
  const Clock::time_point planned = Clock::now();

  std::vector<const cache::StepPlan*> members;
  for (const cache::StepPlan& plan : plans) members.push_back(&plan);
  const int branches = trajectory_->branches();
  const std::vector<model::TextRange> texts(
      static_cast<std::size_t>(capacity) * branches, {0, kTextTokens});
  const model::StepTableLayout layout(
      {.capacity = capacity,
       .branches = branches,
       .layers = spec_.transformer.depth,
       .heads = spec_.transformer.heads,
       .tokens = spec_.ladders[0].ladder.tokens(scale)});
  const auto values = static_cast<std::size_t>(layout.Values(members));
  if (table_.size() < values) table_.resize(values);
  HEATKV_CHECK_GT(layout.Write(members, texts, table_), 0);
  const Clock::time_point written = Clock::now();

  for (const auto& list : lists) list->FinishStep();
  const Clock::time_point finished = Clock::now();
  times->plan.push_back(Milliseconds(planned - begin).count());
  times->tables.push_back(Milliseconds(written - planned).count());
  times->finish.push_back(Milliseconds(finished - written).count());
  spans_ = 0;
  for (const cache::StepPlan& plan : plans) {
    spans_ += static_cast<std::int64_t>(plan.prefix.size() + plan.store.size());
  }
}

json Bench::Measure(int images) {
  const cache::ScaleLadder& ladder = spec_.ladders[0].ladder;
  std::vector<Times> times(ladder.num_scales());
  json scales = json::array();
  for (int repeat = 0; repeat <= absl::GetFlag(FLAGS_repeats); ++repeat) {
    cache::BlockPool pool(images * trajectory_->peak_blocks());
    std::vector<std::unique_ptr<cache::BlockLists>> lists;
    for (int i = 0; i < images; ++i) {
      lists.push_back(std::make_unique<cache::BlockLists>(&pool, trajectory_));
    }
    for (int scale = 0; scale < ladder.num_scales(); ++scale) {
      if (repeat == 1) times[scale] = {};  // the first warms up
      const int capacity =
          model::GroupCapacity(spec_, 0, scale, trajectory_->branches());
      const int most = std::min(images, capacity);
      for (int first = 0; first < images; first += most) {
        const auto count =
            static_cast<std::size_t>(std::min(most, images - first));
        RunGroup(std::span(lists).subspan(first, count), scale, capacity,
                 &times[scale]);
      }
      if (repeat == 0) {
        scales.push_back({{"tokens", ladder.tokens(scale)},
                          {"images", most},
                          {"capacity", capacity},
                          {"spans", spans_}});
      }
    }
  }
  double image = 0;
  for (int scale = 0; scale < ladder.num_scales(); ++scale) {
    const double plan = Median(times[scale].plan);
    const double tables = Median(times[scale].tables);
    const double finish = Median(times[scale].finish);
    scales[scale]["plan_ms"] = plan;
    scales[scale]["tables_ms"] = tables;
    scales[scale]["finish_ms"] = finish;
    scales[scale]["step_ms"] = plan + tables + finish;
    image += (plan + tables + finish) / scales[scale]["images"].get<int>();
  }
  return {{"images_in_flight", images},
          {"ms_per_image", image},
          {"scales", std::move(scales)}};
}

absl::StatusOr<json> Run() {
  Bench bench;
  RETURN_IF_ERROR(bench.Prepare());
  json result = {
      {"benchmark", "host-step"},
      {"device", Processor()},
      {"cores", std::thread::hardware_concurrency()},
      {"system", System()},
      {"compiler", absl::StrCat("g++ ", __VERSION__)},
      {"commit", absl::GetFlag(FLAGS_commit)},
      {"model", "infinity-2b"},
      {"ladder", "1:1 1M"},
      {"branches", 2},
      {"budget", absl::GetFlag(FLAGS_budget)},
      {"ranking", absl::StrCat("random, seed ", absl::GetFlag(FLAGS_seed))},
      {"repeats", absl::GetFlag(FLAGS_repeats)}};
  for (const int images : {1, 8}) {
    result["in_flight"].push_back(bench.Measure(images));
  }
  return result;
}

}  // namespace
}  // namespace heatkv::server

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("measures the host's part of a step");
  absl::ParseCommandLine(argc, argv);
  const auto result = heatkv::server::Run();
  if (!result.ok()) {
    std::fprintf(stderr, "heatkv_bench_host: error: %s\n",
                 std::string(result.status().message()).c_str());
    return 1;
  }
  const std::string text = result->dump(2) + "\n";
  if (const std::string file = absl::GetFlag(FLAGS_output); !file.empty()) {
    std::ofstream(file) << text;
  }
  std::fputs(text.c_str(), stdout);
  return 0;
}
