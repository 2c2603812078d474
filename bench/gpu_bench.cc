// heatkv_bench_gpu: how fast and how large is the model on a GPU?
//
//   heatkv_bench_gpu --model models/infinity-2b --tokenizer models/default
//
// Makes images of the model's first ladder through the engine, with weights and
// ranking drawn from a seed (they change neither speed nor memory), alone and
// several in flight, and writes one JSON object: seconds an image from
// submission to pixels, of each scale and stage, and memory by purpose.

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "bench/report.h"
#include "calibration/schedule_file.h"
#include "model/api/random_ranking.h"
#include "model/cuda/memory_report.h"
#include "model/infinity_backend.h"
#include "model/kernels/launch.h"
#include "server/config/model_yaml.h"
#include "server/engine/engine.h"

ABSL_FLAG(std::string, model, "models/infinity-2b", "folder of the model");
ABSL_FLAG(std::string, tokenizer, "models/default",
          "folder with a tokenizer; which one changes nothing but the text");
ABSL_FLAG(int, gpu, 0, "number of the GPU");
ABSL_FLAG(double, budget, 0.1, "fraction of the full cache that may stay");
ABSL_FLAG(int, most_images, 8, "images in flight, at most");
ABSL_FLAG(int, repeats, 5, "measured repetitions; the median is reported");
ABSL_FLAG(std::uint64_t, seed, 1, "of weights, ranking and pictures");
ABSL_FLAG(std::string, commit, "", "written into the result");
ABSL_FLAG(std::string, driver, "", "written into the result");
ABSL_FLAG(std::string, output, "",
          "file for the result; empty: standard output");

namespace heatkv::server {
namespace {

using nlohmann::json;

class Picture final : public EventSink {
 public:
  void OnEvent(EngineEvent event) override {
    if (auto* image = std::get_if<ImageEvent>(&event)) {
      pixels = image->picture.pixels.size();
    }
  }
  void OnFinished(const absl::Status& end, const RequestUsage&) override {
    status = end;
  }
  absl::Status status = absl::UnknownError("not finished");
  std::size_t pixels = 0;
};

// Milliseconds of scales and stages since Clear().
class Times final : public ServerObserver {
 public:
  void OnCall(const CallRecord&) override {}
  void OnStage(Stage stage, absl::Duration took) override {
    stages_[StageName(stage)].push_back(absl::ToDoubleMilliseconds(took));
  }
  void OnScale(int scale, absl::Duration took) override {
    if (scale >= static_cast<int>(scales_.size())) scales_.resize(scale + 1);
    scales_[scale].push_back(absl::ToDoubleMilliseconds(took));
  }
  void OnImage(const std::string&, const absl::Status&) override {}
  void OnStep(int) override { ++steps_; }

  void Clear() {
    stages_.clear();
    scales_.clear();
    steps_ = 0;
  }
  static double Median(std::vector<double> values) {
    HEATKV_CHECK(!values.empty());
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  }
  json Report() const {
    json report = {{"steps", steps_}};
    for (const auto& [name, values] : stages_) {
      report["stage_ms"][name] = Median(values);
    }
    for (const auto& values : scales_) {
      report["scale_ms"].push_back(values.empty() ? 0.0 : Median(values));
    }
    return report;
  }
  double decode_seconds() const { return Median(stages_.at("decode")) / 1e3; }

 private:
  std::map<std::string, std::vector<double>> stages_;
  std::vector<std::vector<double>> scales_;
  int steps_ = 0;
};

class Bench {
 public:
  absl::StatusOr<json> Run();

 private:
  absl::Status Load();
  // Seconds for `images` requests that arrive together.
  absl::StatusOr<double> Generate(int images);
  absl::StatusOr<json> Measure(int images);

  const int gpu_ = absl::GetFlag(FLAGS_gpu);
  const SystemClock clock_;
  Times times_;
  model::ModelSpec spec_;
  std::shared_ptr<const ScheduleBook> book_;
  std::unique_ptr<Engine> engine_;
  std::int64_t weight_bytes_ = 0;
  std::int64_t arena_bytes_ = 0;
  std::int64_t image_bytes_ = 0;  // of the pool, one image
  int made_ = 0;
};

absl::Status Bench::Load() {
  ASSIGN_OR_RETURN(spec_, LoadModelSpec(absl::GetFlag(FLAGS_model)));
  spec_.ladders.erase(spec_.ladders.begin() + 1, spec_.ladders.end());
  model::InfinityBackend::Options options;
  options.device = absl::StrCat("cuda:", gpu_);
  options.random_weights = absl::GetFlag(FLAGS_seed);
  ASSIGN_OR_RETURN(auto model,
                   model::InfinityBackend::Create(
                       spec_, absl::GetFlag(FLAGS_tokenizer), options));
  model::ReleaseUnusedMemory();
  weight_bytes_ = model::ReadMemory(gpu_).allocated;
  ASSIGN_OR_RETURN(const cache::Ranking ranking,
                   model::RandomRanking(spec_, absl::GetFlag(FLAGS_seed)));
  ASSIGN_OR_RETURN(const cache::Budget budget,
                   cache::Budget::Create(absl::GetFlag(FLAGS_budget)));
  const cache::CacheGeometry geometry = model->cache_geometry();
  std::vector<TierSpec> tiers = {{"bench", budget}};
  ASSIGN_OR_RETURN(
      ScheduleBook book,
      ScheduleBook::Create(spec_, geometry, &ranking, std::move(tiers),
                           calibration::ScheduleSha256));
  book_ = std::make_shared<const ScheduleBook>(std::move(book));
  const std::int64_t blocks = book_->plan(0, 0).guided->peak_blocks();
  image_bytes_ = blocks * geometry.block_bytes();
  EngineOptions engine_options;
  engine_options.cached_prompts = 1;  // no prompt comes twice
  engine_options.pool_blocks = absl::GetFlag(FLAGS_most_images) * blocks;
  ASSIGN_OR_RETURN(engine_, Engine::Create(engine_options, std::move(model),
                                           book_, &clock_, &times_));
  arena_bytes_ = model::ReadMemory(gpu_).allocated - weight_bytes_;
  return absl::OkStatus();
}

absl::StatusOr<double> Bench::Generate(int images) {
  std::vector<std::shared_ptr<Picture>> pictures;
  const absl::Time start = absl::Now();
  for (int i = 0; i < images; ++i) {
    GenerationRequest request;
    request.book = book_;
    // A prompt of its own, so that its text is encoded within the time.
    request.prompt = absl::StrCat(
        "picture ", made_,
        ": a red fox and two small birds in front of a "
        "lighthouse at sea, a boat far away, evening light, calm water");
    request.guidance = spec_.defaults.guidance;
    request.tau = spec_.defaults.tau;
    request.top_p = spec_.defaults.top_p;
    request.seeds = {static_cast<std::uint64_t>(++made_)};
    pictures.push_back(std::make_shared<Picture>());
    RETURN_IF_ERROR(
        engine_->Submit(std::move(request), pictures.back()).status());
  }
  while (engine_->RunOnce()) {
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  for (const auto& picture : pictures) {
    RETURN_IF_ERROR(picture->status);
    if (picture->pixels == 0) return absl::InternalError("no picture came");
  }
  return seconds;
}

absl::StatusOr<json> Bench::Measure(int images) {
  RETURN_IF_ERROR(Generate(images).status());  // warm
  times_.Clear();
  model::ResetMemoryPeaks(gpu_);
  const std::int64_t allocations = model::ReadMemory(gpu_).device_allocations;
  std::vector<double> seconds;
  for (int i = 0; i < absl::GetFlag(FLAGS_repeats); ++i) {
    ASSIGN_OR_RETURN(const double took, Generate(images));
    seconds.push_back(took / images);
  }
  const model::MemoryReport memory = model::ReadMemory(gpu_);
  const std::int64_t work =
      memory.peak_allocated - weight_bytes_ - arena_bytes_;
  json report = times_.Report();
  report["images_in_flight"] = images;
  report["seconds_per_image"] = Times::Median(seconds);
  report["seconds_per_image_all"] = seconds;
  report["vae_seconds"] = times_.decode_seconds();
  report["pool_gb"] = image_bytes_ * images / 1e9;
  report["activations_gb"] = work / 1e9;
  report["memory_beyond_weights_gb"] = (image_bytes_ * images + work) / 1e9;
  report["reserved_gb"] = memory.peak_reserved / 1e9;
  report["device_allocations_after_warm_up"] =
      memory.device_allocations - allocations;
  return report;
}

absl::StatusOr<json> Bench::Run() {
  const absl::Time start = absl::Now();
  RETURN_IF_ERROR(Load());
  json result = {
      {"device", kernels::DescribeCurrentDevice()},
      {"driver", absl::GetFlag(FLAGS_driver)},
      {"torch", model::TorchVersion()},
      {"commit", absl::GetFlag(FLAGS_commit)},
      {"model", spec_.name},
      {"weights", absl::StrCat("random, seed ", absl::GetFlag(FLAGS_seed))},
      {"ladder", absl::StrCat(spec_.ladders[0].aspect, " ",
                              spec_.ladders[0].pixel_class)},
      {"budget", absl::GetFlag(FLAGS_budget)},
      {"guidance", spec_.defaults.guidance},
      {"weights_gb", weight_bytes_ / 1e9},
      {"load_seconds", absl::ToDoubleSeconds(absl::Now() - start)}};
  ASSIGN_OR_RETURN(const double first, Generate(1));
  result["first_image_seconds"] = first;
  for (const int images : {1, 4, 8}) {
    if (images > absl::GetFlag(FLAGS_most_images)) break;
    ASSIGN_OR_RETURN(json report, Measure(images));
    for (const char* key : {"seconds_per_image", "memory_beyond_weights_gb"}) {
      result[absl::StrCat(key, "_", images)] = report[key];
    }
    if (images == 1) result["vae_seconds"] = report["vae_seconds"];
    result["in_flight"].push_back(std::move(report));
  }
  return result;
}

}  // namespace
}  // namespace heatkv::server

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("measures speed and memory on a GPU");
  absl::ParseCommandLine(argc, argv);
  heatkv::server::Bench bench;
  return heatkv::server::PrintReport("heatkv_bench_gpu", bench.Run(),
                                     absl::GetFlag(FLAGS_output));
}
