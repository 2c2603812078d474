// heatkv_bench_host: what does a step cost the host before and after the GPU
// computes it?
//
//   heatkv_bench_host --output bench/results/host-step.json
//
// Images of the full-size model (Infinity-2B, 1024x1024, under guidance) with
// the schedule that the GPU's benchmark uses, and nothing computed: no torch,
// no GPU.  Writes one JSON object with milliseconds for each scale, medians
// over repetitions:
//   turn_ms    the engine, from the end of a step to the beginning of this one:
//              what is told, who is next, plans; none for an image's first step
//   plan_ms, finish_ms   the block lists' part of that
//   tables_ms  writing the step's tables, which is the model's part
//   host_ms    turn_ms (or plan_ms) + tables_ms: in all of it a GPU may wait
// Caches of the processor are warm, as nothing else runs.

#include <sys/utsname.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
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
#include "bench/idle_model.h"
#include "bench/report.h"
#include "cache/block_lists.h"
#include "cache/block_pool.h"
#include "calibration/schedule_file.h"
#include "model/api/model_spec.h"
#include "model/api/random_ranking.h"
#include "model/cuda/step_table_layout.h"
#include "model/kernels/cross_attention.h"
#include "server/engine/engine.h"

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

// Nobody watches.
class Unwatched final : public ServerObserver {
 public:
  void OnCall(const CallRecord&) override {}
  void OnStage(Stage, absl::Duration) override {}
  void OnScale(int, absl::Duration) override {}
  void OnImage(const std::string&, const absl::Status&) override {}
  void OnStep(int) override {}
};

class Ended final : public EventSink {
 public:
  void OnEvent(EngineEvent) override {}
  void OnFinished(const absl::Status& end, const RequestUsage&) override {
    status = end;
  }
  absl::Status status = absl::UnknownError("not finished");
};

class Bench {
 public:
  absl::Status Prepare();
  absl::StatusOr<json> Measure(int images);

 private:
  struct Times {
    std::vector<double> plan;
    std::vector<double> tables;
    std::vector<double> finish;
  };
  // Images that stay at the same scale and run in groups as large as a step
  // takes.
  json MeasureParts(int images);
  void RunGroup(std::span<const std::unique_ptr<cache::BlockLists>> lists,
                int scale, int capacity, Times* times);
  // turns[scale] of images that are asked for together.
  absl::StatusOr<std::vector<std::vector<double>>> MeasureTurns(int images);

  model::ModelSpec spec_;
  std::shared_ptr<const ScheduleBook> book_;
  std::shared_ptr<const cache::Trajectory> trajectory_;
  std::vector<std::int32_t> table_;  // stands for memory that a GPU reads
  std::int64_t spans_ = 0;           // of the group last run
};

absl::Status Bench::Prepare() {
  ASSIGN_OR_RETURN(spec_, Infinity2b());
  ASSIGN_OR_RETURN(const cache::Ranking ranking,
                   model::RandomRanking(spec_, absl::GetFlag(FLAGS_seed)));
  ASSIGN_OR_RETURN(const cache::Budget budget,
                   cache::Budget::Create(absl::GetFlag(FLAGS_budget)));
  ASSIGN_OR_RETURN(
      ScheduleBook book,
      ScheduleBook::Create(spec_, IdleModel(spec_, nullptr).cache_geometry(),
                           &ranking, {{"bench", budget}},
                           calibration::ScheduleSha256));
  book_ = std::make_shared<const ScheduleBook>(std::move(book));
  trajectory_ = book_->plan(0, 0).guided;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::vector<double>>> Bench::MeasureTurns(
    int images) {
  std::vector<std::vector<double>> turns(spec_.ladders[0].ladder.num_scales());
  const SystemClock clock;
  Unwatched observer;
  EngineOptions options;
  options.pool_blocks = images * trajectory_->peak_blocks();
  ASSIGN_OR_RETURN(
      const std::unique_ptr<Engine> engine,
      Engine::Create(options, std::make_unique<IdleModel>(spec_, &turns), book_,
                     &clock, &observer));
  for (int repeat = 0; repeat <= absl::GetFlag(FLAGS_repeats); ++repeat) {
    if (repeat == 1) {
      for (auto& turn : turns) turn.clear();  // the first warms up
    }
    std::vector<std::shared_ptr<Ended>> ends;
    for (int i = 0; i < images; ++i) {
      GenerationRequest request;
      request.book = book_;
      request.prompt = "a prompt";
      request.guidance = 3;
      request.seeds = {static_cast<std::uint64_t>(i)};
      ends.push_back(std::make_shared<Ended>());
      RETURN_IF_ERROR(engine->Submit(std::move(request), ends.back()).status());
    }
    while (engine->RunOnce()) {
    }
    for (const auto& end : ends) RETURN_IF_ERROR(end->status);
  }
  return turns;
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
  const std::vector<kernels::RowText> texts(
      static_cast<std::size_t>(capacity) * branches,
      {.keys_values = nullptr, .tokens = kTextTokens, .room = kTextTokens});
  const cache::ScaleLadder& ladder = spec_.ladders[0].ladder;
  std::vector<std::int64_t> earlier;
  for (int s = 0; s < scale; ++s) earlier.push_back(ladder.tokens(s));
  const model::StepTableLayout layout(
      {.capacity = capacity,
       .branches = branches,
       .layers = spec_.transformer.depth,
       .heads = spec_.transformer.heads,
       .tokens = ladder.tokens(scale),
       .earlier = std::move(earlier),
       .is_last = scale + 1 == ladder.num_scales()});
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

json Bench::MeasureParts(int images) {
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
  for (int scale = 0; scale < ladder.num_scales(); ++scale) {
    scales[scale]["plan_ms"] = Median(times[scale].plan);
    scales[scale]["tables_ms"] = Median(times[scale].tables);
    scales[scale]["finish_ms"] = Median(times[scale].finish);
  }
  return scales;
}

absl::StatusOr<json> Bench::Measure(int images) {
  json scales = MeasureParts(images);
  ASSIGN_OR_RETURN(const auto turns, MeasureTurns(images));
  double image = 0;
  for (std::size_t scale = 0; scale < scales.size(); ++scale) {
    json& report = scales[scale];
    double host = report["tables_ms"].get<double>();
    if (turns[scale].empty()) {  // an image starts with it
      host += report["plan_ms"].get<double>();
    } else {
      report["turn_ms"] = Median(turns[scale]);
      host += Median(turns[scale]);
    }
    report["host_ms"] = host;
    image += host / report["images"].get<int>();
  }
  return json{{"images_in_flight", images},
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
    ASSIGN_OR_RETURN(json report, bench.Measure(images));
    result["in_flight"].push_back(std::move(report));
  }
  return result;
}

}  // namespace
}  // namespace heatkv::server

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("measures the host's part of a step");
  absl::ParseCommandLine(argc, argv);
  return heatkv::server::PrintReport("heatkv_bench_host", heatkv::server::Run(),
                                     absl::GetFlag(FLAGS_output));
}
