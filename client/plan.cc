#include "client/plan.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "calibration/json_text.h"
#include "client/occupancy_plot.h"
#include "client/plan_admission.h"
#include "client/plan_report.h"
#include "client/plan_simulation.h"

namespace heatkv::client {
namespace {

struct PlanFlags {
  PlanRequest request;
  SimulationRequest simulation;
  std::uint64_t pool_bytes = 0;
  int max_running = 0;  // 0: not given
  std::filesystem::path costs;
  std::filesystem::path plot;
  bool simulate = false;
  bool json = false;
  bool markdown = false;
};

int Fail(const absl::Status& status) {
  std::cerr << "heatkv plan: " << status.message() << "\n";
  return 1;
}

// Writes all of `text` or fails, naming the file.
absl::Status WriteFile(const std::filesystem::path& file,
                       const std::string& text) {
  std::ofstream out(file, std::ios::binary);
  out << text;
  out.close();
  if (out.good()) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("cannot write ", file.string(), ": ", std::strerror(errno)));
}

int RunSimulation(const PlanFlags& flags) {
  SimulationRequest request = flags.simulation;
  request.plan = flags.request;
  request.pool_bytes = flags.pool_bytes;
  request.costs = flags.costs;
  if (flags.max_running > 0) request.max_running = flags.max_running;
  if (!flags.request.budget.empty()) request.tiers = flags.request.budget;
  if (!flags.plot.empty() && flags.plot.extension() != ".svg") {
    return Fail(absl::InvalidArgumentError(absl::StrCat(
        flags.plot.string(), ": plots are SVG, name the file .svg")));
  }
  const absl::StatusOr<SimulationPlan> plan = MakeSimulationPlan(request);
  if (!plan.ok()) return Fail(plan.status());
  if (!flags.plot.empty()) {
    const absl::Status written =
        WriteFile(flags.plot, PlotOccupancy(ToPlot(*plan)));
    if (!written.ok()) return Fail(written);
  }
  if (flags.json) {
    std::cout << calibration::ToPythonText(ToJson(*plan)) << "\n";
  } else {
    std::cout << (flags.markdown ? ToMarkdown(*plan) : ToText(*plan));
  }
  return 0;
}

int RunPlan(const PlanFlags& flags) {
  if (flags.simulate) return RunSimulation(flags);
  const absl::StatusOr<PlanReport> report = MakePlanReport(flags.request);
  if (!report.ok()) return Fail(report.status());
  AdmissionRequest admission;
  admission.pool_bytes = static_cast<std::int64_t>(flags.pool_bytes);
  admission.costs = flags.costs;
  if (flags.max_running > 0) admission.max_running = flags.max_running;
  const absl::StatusOr<AdmissionGain> gain =
      MeasureAdmission(*report, admission);
  if (!gain.ok()) return Fail(gain.status());
  if (flags.json) {
    for (const std::string& note : report->notes) {
      std::cerr << "heatkv plan: note: " << note << "\n";
    }
    nlohmann::ordered_json json = ToJson(*report);
    json["plan"]["admission"] = ToJson(*gain);
    std::cout << calibration::ToPythonText(json) << "\n";
  } else {
    std::cout << ToTable(*report) << ToText(*gain);
  }
  return 0;
}

void AddSimulationFlags(CLI::App& plan, PlanFlags* flags) {
  SimulationRequest& simulation = flags->simulation;
  CLI::Option* simulate = plan.add_flag(
      "--simulate", flags->simulate,
      "Simulate a device: capacity, waiting times, occupancy of the pool");
  const std::vector<CLI::Option*> options = {
      plan.add_option("--tiers", simulation.tiers,
                      "Budgets with their shares, such as 0.1=3,0.2=1")
          ->capture_default_str(),
      plan.add_option("--aspects", simulation.aspects,
                      "Aspects with their shares, such as 1:1=2,2:3@0.25M=1"),
      plan.add_option("--pools", simulation.pools,
                      "Pools of the capacity table, such as 2GiB,4GiB")
          ->delimiter(',')
          ->transform(CLI::AsSizeValue(false)),
      plan.add_option("--devices", simulation.devices,
                      "Devices of the capacity table (otherwise 24, 40, 80 "
                      "and 141 GB)")
          ->delimiter(',')
          ->transform(CLI::AsSizeValue(true)),
      plan.add_option("--reserve", simulation.reserve_bytes,
                      "Bytes of a device that are not the pool's: weights and "
                      "work space")
          ->transform(CLI::AsSizeValue(true))
          ->default_str("12GB"),
      plan.add_option("--requests", simulation.requests, "Requests of the load")
          ->capture_default_str(),
      plan.add_option("--rate", simulation.rate,
                      "Requests a second (otherwise --load says)"),
      plan.add_option("--load", simulation.load,
                      "Requests a second, as a multiple of what the device can "
                      "do")
          ->capture_default_str(),
      plan.add_flag("--saturate", simulation.saturate, "Requests always wait"),
      plan.add_option("--cancel_share", simulation.cancel_share,
                      "Share of requests that are cancelled, within ten times "
                      "the time of one image")
          ->capture_default_str(),
      plan.add_option("--seed", simulation.seed, "Of the random load")
          ->capture_default_str(),
      plan.add_option("--policy", simulation.policy, "latency, preview or both")
          ->capture_default_str(),
      plan.add_option("--rule", simulation.rule,
                      "Admission: safe, peaks or both")
          ->capture_default_str(),
      plan.add_flag("--capacity,!--no_capacity", simulation.capacity_table,
                    "Whether to make the capacity table"),
      plan.add_option("--plot", flags->plot,
                      "Draw the occupancy of the pool into this SVG file"),
      plan.add_flag("--markdown", flags->markdown, "Print tables in Markdown"),
  };
  for (CLI::Option* option : options) option->needs(simulate);
}

}  // namespace

void AddPlanCommand(CLI::App& app, const std::filesystem::path& program,
                    int* exit_code) {
  const auto flags = std::make_shared<PlanFlags>();
  PlanRequest& request = flags->request;
  request.program = program;

  CLI::App* plan = app.add_subcommand(
      "plan", "Show what a cache budget means for a model, scale by scale");
  plan->add_option("--model", request.model,
                   "Name of a model, or a folder with a model.yaml")
      ->required();
  CLI::Option* budget =
      plan->add_option("--budget", request.budget,
                       "Fraction of the full cache that may stay, such as 0.1");
  plan->add_option("--orders", request.orders,
                   "Ranking: an orders file, [head, layer] by source scale");
  plan->add_option("--profile", request.profile,
                   "Ranking: a profile (otherwise the model's own)");
  plan->add_option("--ladder,--aspect", request.aspect,
                   "Aspect ratio, height:width (otherwise the model's first)");
  plan->add_option("--pixel_class", request.pixel_class,
                   "Pixel class (otherwise the first one with the aspect)");
  plan->add_option(
      "--sinks", request.sink_scales,
      "First scales that every head keeps (otherwise the model's)");
  plan->add_option("--branches", request.branches,
                   "2 under guidance, 1 without")
      ->check(CLI::IsMember({1, 2}))
      ->capture_default_str();
  plan->add_option("--cache_dtype", request.bytes_per_value,
                   "What keys and values are stored in: bf16 or fp32")
      ->transform(CLI::Transformer(
          std::map<std::string, int>{{"bf16", 2}, {"fp32", 4}}));
  plan->add_option("--models_dir", request.models,
                   "Where models are looked for by name");
  plan->add_flag("--json", flags->json,
                 "Print the schedule and the plan as JSON");
  plan->add_option("--pool", flags->pool_bytes,
                   "Bytes of the pool, such as 4GiB (otherwise 8 images by the "
                   "sum of their peaks)")
      ->transform(CLI::AsSizeValue(false));
  plan->add_option("--max_running", flags->max_running,
                   "Images in flight at most (otherwise 1024, and 32 with "
                   "--simulate)")
      ->check(CLI::Range(1, 1 << 20));
  plan->add_option("--costs", flags->costs,
                   "Measured step costs, a JSON file (otherwise a model of a "
                   "large GPU)");
  AddSimulationFlags(*plan, flags.get());
  plan->callback([flags, budget, exit_code] {
    if (!flags->simulate && budget->count() == 0) {
      throw CLI::RequiredError("--budget");
    }
    *exit_code = RunPlan(*flags);
  });
}

}  // namespace heatkv::client
