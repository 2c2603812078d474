#include "client/plan.h"

#include <iostream>
#include <map>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "calibration/json_text.h"
#include "client/plan_report.h"

namespace heatkv::client {
namespace {

struct PlanFlags {
  PlanRequest request;
  bool json = false;
};

int RunPlan(const PlanFlags& flags) {
  const absl::StatusOr<PlanReport> report = MakePlanReport(flags.request);
  if (!report.ok()) {
    std::cerr << "heatkv plan: " << report.status().message() << "\n";
    return 1;
  }
  if (flags.json) {
    for (const std::string& note : report->notes) {
      std::cerr << "heatkv plan: note: " << note << "\n";
    }
    std::cout << calibration::ToPythonText(ToJson(*report)) << "\n";
  } else {
    std::cout << ToTable(*report);
  }
  return 0;
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
  plan->add_option("--budget", request.budget,
                   "Fraction of the full cache that may stay, such as 0.1")
      ->required();
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
  plan->callback([flags, exit_code] { *exit_code = RunPlan(*flags); });
}

}  // namespace heatkv::client
