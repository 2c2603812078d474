// heatkv_company_check: is an image the same alone and among others?
//
//   heatkv_company_check --model models/default [--device cpu] [--images 8]
//
// Makes images of mixed tiers, seeds, aspect ratios and guidance one by one,
// then all at once under each scheduling policy in a pool of two full images,
// through the engine and the real model, and compares their pixels byte for
// byte.  Besides the model's own ladders it uses a wide one, so that a model of
// one aspect ratio is checked with two.  Runs on any device that the model
// does.
//
// The last line says how many differ; the exit status is 0 if none does.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "calibration/schedule_file.h"
#include "model/infinity_backend.h"
#include "server/engine/engine.h"
#include "server/model_folder.h"

ABSL_FLAG(std::string, model, "models/default", "folder of the model");
ABSL_FLAG(std::string, device, "cpu", "device of the model");
ABSL_FLAG(int, images, 8, "images that run together");
ABSL_FLAG(int, threads, 0, "threads of the model; 0: as many as cores");

namespace heatkv::server {
namespace {

// Keeps the pictures of one request.
class Pictures final : public EventSink {
 public:
  void OnEvent(EngineEvent event) override {
    if (auto* image = std::get_if<ImageEvent>(&event)) {
      picture = std::move(image->picture);
    }
  }
  void OnFinished(const absl::Status& end, const RequestUsage&) override {
    status = end;
  }

  absl::Status status = absl::UnknownError("not finished");
  model::RgbImage picture;
};

class Steps final : public ServerObserver {
 public:
  void OnCall(const CallRecord&) override {}
  void OnStage(Stage, absl::Duration) override {}
  void OnScale(int, absl::Duration) override {}
  void OnImage(const std::string&, const absl::Status&) override {}
  void OnStep(int images) override {
    ++steps;
    grouped += images > 1;
  }

  int steps = 0;
  int grouped = 0;  // of more than one image
};

// A ladder twice as wide as the model's first, with as many scales.
absl::Status AddWideLadder(model::ModelSpec* spec) {
  const model::LadderSpec& square = spec->ladders.front();
  std::vector<cache::Grid> grids;
  for (const cache::Grid& grid : square.ladder.grids()) {
    grids.push_back({(grid.height + 1) / 2, grid.width});
  }
  ASSIGN_OR_RETURN(cache::ScaleLadder ladder,
                   cache::ScaleLadder::Create(std::move(grids),
                                              square.ladder.sink_scales()));
  spec->ladders.push_back(
      {"1:2",
       "check",
       {(square.rope_grid.height + 1) / 2, square.rope_grid.width},
       std::move(ladder)});
  return absl::OkStatus();
}

std::vector<GenerationRequest> MakeRequests(
    const model::ModelSpec& spec, std::shared_ptr<const ScheduleBook> book,
    int images) {
  const char* const prompts[] = {"a red apple", "two blue birds",
                                 "a cat left of a dog"};
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < images; ++i) {
    GenerationRequest request;
    request.book = book;
    request.prompt = prompts[i % 3];
    request.ladder = i % 3 == 2 ? static_cast<int>(spec.ladders.size()) - 1 : 0;
    request.tier = i % static_cast<int>(book->tiers().size());
    request.least_tier = request.tier;
    request.guidance = i % 4 == 3 ? 1.0 : spec.defaults.guidance;
    request.tau = spec.defaults.tau;
    request.top_p = spec.defaults.top_p;
    request.seeds = {static_cast<std::uint64_t>(1000 + i)};
    requests.push_back(std::move(request));
  }
  return requests;
}

std::vector<std::shared_ptr<Pictures>> SubmitAll(
    Engine& engine, const std::vector<GenerationRequest>& requests,
    bool one_by_one) {
  std::vector<std::shared_ptr<Pictures>> all;
  for (const GenerationRequest& request : requests) {
    all.push_back(std::make_shared<Pictures>());
    HEATKV_CHECK_OK(engine.Submit(request, all.back()).status());
    while (one_by_one && engine.RunOnce()) {
    }
  }
  while (engine.RunOnce()) {
  }
  return all;
}

absl::StatusOr<int> Check() {
  ASSIGN_OR_RETURN(ModelFolder folder,
                   OpenModelFolder(absl::GetFlag(FLAGS_model)));
  RETURN_IF_ERROR(AddWideLadder(&folder.spec));
  model::InfinityBackend::Options options;
  options.device = absl::GetFlag(FLAGS_device);
  options.threads = absl::GetFlag(FLAGS_threads);
  ASSIGN_OR_RETURN(auto model, model::InfinityBackend::Create(
                                   folder.spec, folder.path.string(), options));
  ASSIGN_OR_RETURN(const cache::Budget high, cache::Budget::Create(0.2));
  ASSIGN_OR_RETURN(const cache::Budget standard, cache::Budget::Create(0.12));
  const cache::Ranking* const ranking =
      folder.profile.has_value() ? &folder.profile->ranking : nullptr;
  std::vector<TierSpec> tiers = {{"full", cache::Budget::Full()}};
  if (ranking != nullptr) {
    tiers.push_back({"high", high});
    tiers.push_back({"standard", standard});
  }
  ASSIGN_OR_RETURN(
      ScheduleBook made,
      ScheduleBook::Create(folder.spec, model->cache_geometry(), ranking,
                           std::move(tiers), calibration::ScheduleSha256));
  const auto book = std::make_shared<const ScheduleBook>(std::move(made));

  EngineOptions engine_options;
  engine_options.pool_blocks = 2 * book->plan(0, 0).guided->peak_blocks();
  const SystemClock clock;
  Steps steps;
  const auto requests =
      MakeRequests(folder.spec, book, absl::GetFlag(FLAGS_images));
  ASSIGN_OR_RETURN(auto engine, Engine::Create(engine_options, std::move(model),
                                               book, &clock, &steps));
  const auto alone = SubmitAll(*engine, requests, /*one_by_one=*/true);
  int different = 0;
  for (const auto policy :
       {SchedulingPolicy::kLatency, SchedulingPolicy::kPreview}) {
    SchedulerOptions scheduler = engine->scheduler_options();
    scheduler.policy = policy;
    RETURN_IF_ERROR(engine->Reconfigure(scheduler, book));
    steps = Steps();
    const auto together = SubmitAll(*engine, requests, /*one_by_one=*/false);
    int same = 0;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      RETURN_IF_ERROR(alone[i]->status);
      RETURN_IF_ERROR(together[i]->status);
      same += alone[i]->picture.pixels == together[i]->picture.pixels;
    }
    different += static_cast<int>(requests.size()) - same;
    std::printf("%s: %d of %zu images the same; %d steps, %d of them groups\n",
                policy == SchedulingPolicy::kLatency ? "latency" : "preview",
                same, requests.size(), steps.steps, steps.grouped);
    if (steps.grouped == 0) {
      return absl::InternalError("no step had more than one image");
    }
  }
  return different;
}

}  // namespace
}  // namespace heatkv::server

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "checks that images do not depend on what else is being made");
  absl::ParseCommandLine(argc, argv);
  const absl::StatusOr<int> different = heatkv::server::Check();
  if (!different.ok()) {
    std::fprintf(stderr, "heatkv_company_check: error: %s\n",
                 std::string(different.status().message()).c_str());
    return 1;
  }
  std::printf("different=%d\n", *different);
  return *different == 0 ? 0 : 1;
}
