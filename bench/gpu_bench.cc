// heatkv_bench_gpu: how fast and how large is the model on a GPU?
//
//   heatkv_bench_gpu --model models/infinity-2b --tokenizer models/default
//
// Makes images of the model's first ladder through the engine, with weights and
// ranking drawn from a seed (they change neither speed nor memory), alone and
// several in flight, and writes one JSON object: seconds an image from
// submission to pixels, of each scale and stage, the time to a first preview,
// the share of the device's best rate, and memory by purpose.
//
// Exit status: 0 done; 1 an error, or one in a part of the measurements, which
// the result names under "errors"; 3 done, but torch's allocator went to the
// device for memory after the engine was ready.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "bench/device_recording.h"
#include "bench/kernel_table.h"
#include "bench/matrix_rate.h"
#include "bench/measured_engine.h"
#include "bench/memory_by_purpose.h"
#include "bench/report.h"
#include "bench/work_report.h"
#include "model/cuda/memory_report.h"
#include "model/infinity_backend.h"
#include "model/kernels/launch.h"
#include "model/memory_plan.h"

ABSL_FLAG(std::string, model, "models/infinity-2b", "folder of the model");
ABSL_FLAG(std::string, tokenizer, "models/default",
          "folder with a tokenizer; which one changes nothing but the text");
ABSL_FLAG(int, gpu, 0, "number of the GPU");
ABSL_FLAG(double, budget, 0.1, "fraction of the full cache that may stay");
ABSL_FLAG(int, most_images, 8, "images in flight, at most");
ABSL_FLAG(int, repeats, 5, "measured repetitions; the median is reported");
ABSL_FLAG(std::uint64_t, seed, 1, "of weights, ranking and pictures");
ABSL_FLAG(bool, company_cost, true,
          "measure what fixed shapes cost an image alone: once more with a "
          "model whose steps have room for one image");
ABSL_FLAG(std::string, profile, "",
          "file for the table of kernels of one image; it is printed, too");
ABSL_FLAG(std::string, commit, "", "written into the result");
ABSL_FLAG(std::string, driver, "", "written into the result");
ABSL_FLAG(std::string, output, "",
          "file for the result; empty: standard output");

namespace heatkv::server {
namespace {

using nlohmann::json;

constexpr int kGrew = 3;  // exit status
constexpr double kGiga = 1e9;

// Of the kernel that draws the bits, the last of every scale.
constexpr char kEndOfScale[] = "SampleBits";

class Bench {
 public:
  absl::StatusOr<json> Run();
  bool grew() const { return grew_; }
  bool is_complete() const { return errors_.empty(); }

 private:
  MeasuredEngineOptions EngineOptions() const;
  absl::StatusOr<json> Measure(int images);
  absl::StatusOr<json> MeasureRemembered();
  absl::StatusOr<json> MeasurePreviews();
  absl::StatusOr<json> Profile();
  // Replaces the engine.
  absl::StatusOr<json> MeasureCompanyCost(double seconds_alone);
  json WeightsByPart() const;
  json WorkArena() const;
  absl::StatusOr<MeasuredMemory> ReadMemory(int images) const;
  absl::Status AddWork(json& result);
  // Puts what a part of the measurements came to into the result.
  void Add(json& result, const char* name, const absl::StatusOr<json>& part);

  const int gpu_ = absl::GetFlag(FLAGS_gpu);
  const std::string device_ = absl::StrCat("cuda:", gpu_);
  std::unique_ptr<MeasuredEngine> engine_;
  bool grew_ = false;
  std::vector<std::string> errors_;
};

MeasuredEngineOptions Bench::EngineOptions() const {
  return {.model = absl::GetFlag(FLAGS_model),
          .tokenizer = absl::GetFlag(FLAGS_tokenizer),
          .device = device_,
          .gpu = gpu_,
          .budget = absl::GetFlag(FLAGS_budget),
          .most_images = absl::GetFlag(FLAGS_most_images),
          .seed = absl::GetFlag(FLAGS_seed),
          .group_rows = std::nullopt};
}

// As they are planned for; their sum is also measured.
json Bench::WeightsByPart() const {
  const model::ModelSpec& spec = engine_->spec();
  constexpr bool kOnGpu = true;
  return {{"transformer",
           model::TransformerBytes(spec.transformer, kOnGpu) / kGiga},
          {"text_encoder",
           model::TextEncoderBytes(spec.text_encoder, /*bytes=*/2) / kGiga},
          {"vae",
           model::VaeBytes(spec.vae, spec.transformer.bits, kOnGpu) / kGiga}};
}

// As it was planned for, and as it was when the engine was ready.
json Bench::WorkArena() const {
  const model::WorkPlan plan = model::PlanWork(
      engine_->spec(), model::InfinityBackend::VaeTile(std::nullopt,
                                                       /*is_on_gpu=*/true));
  return {{"step", plan.step / kGiga},
          {"decoding", plan.decoding / kGiga},
          {"text", plan.text / kGiga},
          {"planned", plan.arena() / kGiga},
          {"taken", engine_->moments().ready.in_arenas / kGiga}};
}

// Since the peaks were reset.
absl::StatusOr<MeasuredMemory> Bench::ReadMemory(int images) const {
  const MeasuredEngine::Moments& moments = engine_->moments();
  ASSIGN_OR_RETURN(const model::DeviceMemory device,
                   model::InfinityBackend::ReadMemory(device_));
  return MeasuredMemory{.loaded = moments.loaded,
                        .ready = moments.ready,
                        .now = model::ReadMemory(gpu_),
                        .between_steps = engine_->times().most_memory(),
                        .pool = engine_->pool_bytes(),
                        .images = engine_->image_bytes() * images,
                        .device_used = device.total - device.available};
}

absl::StatusOr<json> Bench::Measure(int images) {
  MeasuredEngine& engine = *engine_;
  RETURN_IF_ERROR(engine.Generate(images).status());
  engine.times().Clear();
  model::ResetMemoryPeaks(gpu_);
  std::vector<double> seconds;
  for (int i = 0; i < absl::GetFlag(FLAGS_repeats); ++i) {
    ASSIGN_OR_RETURN(const MeasuredEngine::Made made, engine.Generate(images));
    seconds.push_back(made.seconds / images);
  }
  ASSIGN_OR_RETURN(const MeasuredMemory memory, ReadMemory(images));
  const std::int64_t grown =
      memory.now.device_allocations - memory.ready.device_allocations;
  grew_ =
      grew_ || grown > 0 || memory.now.peak_reserved > memory.ready.reserved;
  json report = engine.times().Report();
  report["images_in_flight"] = images;
  report["seconds_per_image"] = Median(seconds);
  report["seconds_per_image_all"] = seconds;
  report["images_per_second"] = 1 / Median(seconds);
  report["vae_seconds"] = engine.times().stage_ms(Stage::kDecode) / 1e3;
  report["device_allocations_after_ready"] = grown;
  report.update(ReportMemory(memory));
  return report;
}

// An image whose text is there already, so that its first scale is only that.
absl::StatusOr<json> Bench::MeasureRemembered() {
  RETURN_IF_ERROR(engine_->Generate(1).status());
  engine_->times().Clear();
  std::vector<double> seconds;
  for (int i = 0; i < absl::GetFlag(FLAGS_repeats); ++i) {
    ASSIGN_OR_RETURN(const MeasuredEngine::Made made, engine_->GenerateAgain());
    seconds.push_back(made.seconds);
  }
  return json{{"seconds_per_image", Median(seconds)},
              {"scale_ms", engine_->times().scale_ms()}};
}

// A first impression of an image: after every scale, or once, half way.
absl::StatusOr<json> Bench::MeasurePreviews() {
  const int scales = engine_->schedule().ladder().num_scales();
  std::vector<bool> every(scales, true);
  every.back() = false;
  std::vector<bool> once(scales, false);
  once[scales / 2] = true;
  json report;
  const auto measure = [&](const char* name,
                           const std::vector<bool>& previews) -> absl::Status {
    std::vector<double> first;
    std::vector<double> seconds;
    for (int i = 0; i <= absl::GetFlag(FLAGS_repeats); ++i) {
      ASSIGN_OR_RETURN(const MeasuredEngine::Made made,
                       engine_->Generate(1, previews));
      if (i == 0) continue;  // sizes that were not there before
      first.push_back(made.first_preview);
      seconds.push_back(made.seconds);
    }
    report[name] = {{"seconds_to_first_preview", Median(first)},
                    {"seconds_per_image", Median(seconds)}};
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(measure("after_every_scale", every));
  RETURN_IF_ERROR(measure("after_the_middle_scale", once));
  report["middle_scale"] = scales / 2 + 1;
  return report;
}

absl::StatusOr<json> Bench::Profile() {
  ASSIGN_OR_RETURN(std::vector<DeviceEvent> events,
                   RecordDevice([&] { return engine_->Generate(1).status(); }));
  const KernelTable table = MakeKernelTable(std::move(events), kEndOfScale);
  std::fputs(ToText(table, /*rows=*/40).c_str(), stdout);
  const std::string file = absl::GetFlag(FLAGS_profile);
  std::ofstream stream(file);
  stream << ToJson(table).dump(1) << "\n";
  if (!stream.flush()) {
    return absl::InvalidArgumentError(absl::StrCat("cannot write ", file));
  }
  return json{{"wall_us", table.all.wall_microseconds},
              {"idle_us", table.all.idle_microseconds()}};
}

absl::StatusOr<json> Bench::MeasureCompanyCost(double seconds_alone) {
  MeasuredEngineOptions options = EngineOptions();
  options.most_images = 1;
  options.group_rows = 1;
  engine_ = nullptr;
  model::ReleaseUnusedMemory();
  ASSIGN_OR_RETURN(engine_, MeasuredEngine::Start(options));
  RETURN_IF_ERROR(engine_->Generate(1).status());
  engine_->times().Clear();
  std::vector<double> seconds;
  for (int i = 0; i < absl::GetFlag(FLAGS_repeats); ++i) {
    ASSIGN_OR_RETURN(const MeasuredEngine::Made made, engine_->Generate(1));
    seconds.push_back(made.seconds);
  }
  const double without = Median(seconds);
  return json{{"seconds_per_image_with_room_for_one", without},
              {"scale_ms_with_room_for_one", engine_->times().scale_ms()},
              {"seconds", seconds_alone - without},
              {"share", (seconds_alone - without) / seconds_alone}};
}

// Adds the best rate of the device and each measurement's share of it.
absl::Status Bench::AddWork(json& result) {
  ASSIGN_OR_RETURN(const double rate, MeasureMatrixRate(gpu_));
  result["matrix_tflops"] = rate / 1e12;
  const model::ModelSpec& spec = engine_->spec();
  MeasuredWork work;
  work.branches = engine_->is_guided() ? 2 : 1;
  ASSIGN_OR_RETURN(work.text_tokens, engine_->PromptTokens());
  work.rate = rate;
  result["prompt_tokens"] = work.text_tokens;
  for (json& report : result["in_flight"]) {
    const int images = report["images_in_flight"];
    work.seconds_per_image = report["seconds_per_image"];
    work.scale_ms = report["scale_ms"].get<std::vector<double>>();
    work.decode_ms = report["stage_ms"]["decode"];
    work.text_ms = report["stage_ms"]["text"];
    work.images_in_step.clear();
    for (int scale = 0; scale < static_cast<int>(work.scale_ms.size());
         ++scale) {
      work.images_in_step.push_back(std::min(
          images, model::GroupCapacity(spec, 0, scale, work.branches)));
    }
    report["work"] = ReportWork(spec, engine_->schedule(), work);
  }
  return absl::OkStatus();
}

void Bench::Add(json& result, const char* name,
                const absl::StatusOr<json>& part) {
  if (part.ok()) {
    result[name] = *part;
  } else {
    errors_.push_back(absl::StrCat(name, ": ", part.status().message()));
    result["errors"] = errors_;
  }
}

absl::StatusOr<json> Bench::Run() {
  ASSIGN_OR_RETURN(engine_, MeasuredEngine::Start(EngineOptions()));
  const model::ModelSpec& spec = engine_->spec();
  const MeasuredEngine::Moments& moments = engine_->moments();
  json result = {
      {"device", kernels::DescribeCurrentDevice()},
      {"driver", absl::GetFlag(FLAGS_driver)},
      {"torch", model::TorchVersion()},
      {"commit", absl::GetFlag(FLAGS_commit)},
      {"model", spec.name},
      {"weights", absl::StrCat("random, seed ", absl::GetFlag(FLAGS_seed))},
      {"ladder",
       absl::StrCat(spec.ladders[0].aspect, " ", spec.ladders[0].pixel_class)},
      {"budget", absl::GetFlag(FLAGS_budget)},
      {"guidance", spec.defaults.guidance},
      {"weights_gb", moments.loaded.allocated / kGiga},
      {"weights_by_part_gb", WeightsByPart()},
      {"work_arena_gb", WorkArena()},
      {"load_seconds", moments.load_seconds},
      {"warm_seconds", moments.warm_seconds}};
  ASSIGN_OR_RETURN(const MeasuredEngine::Made first, engine_->Generate(1));
  result["first_image_seconds"] = first.seconds;
  for (const int images : {1, 4, 8}) {
    if (images > absl::GetFlag(FLAGS_most_images)) break;
    ASSIGN_OR_RETURN(json report, Measure(images));
    for (const char* key : {"seconds_per_image", "memory_beyond_weights_gb"}) {
      result[absl::StrCat(key, "_", images)] = report[key];
    }
    if (images == 1) result["vae_seconds"] = report["vae_seconds"];
    result["images_per_second"] = report["images_per_second"];
    result["in_flight"].push_back(std::move(report));
  }
  Add(result, "remembered_prompt", MeasureRemembered());
  Add(result, "previews", MeasurePreviews());
  const std::int64_t grown = model::ReadMemory(gpu_).device_allocations -
                             moments.ready.device_allocations;
  grew_ = grew_ || grown > 0;
  result["device_allocations_after_ready"] = grown;
  RETURN_IF_ERROR(AddWork(result));
  if (!absl::GetFlag(FLAGS_profile).empty()) {
    Add(result, "profile", Profile());
  }
  if (absl::GetFlag(FLAGS_company_cost)) {
    Add(result, "cost_of_fixed_shapes",
        MeasureCompanyCost(result["seconds_per_image_1"]));
  }
  return result;
}

}  // namespace
}  // namespace heatkv::server

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("measures speed and memory on a GPU");
  absl::ParseCommandLine(argc, argv);
  heatkv::server::Bench bench;
  const int status = heatkv::server::PrintReport(
      "heatkv_bench_gpu", bench.Run(), absl::GetFlag(FLAGS_output));
  if (status != 0 || !bench.is_complete()) return 1;
  if (bench.grew()) {
    std::fprintf(stderr,
                 "heatkv_bench_gpu: error: torch's allocator went to the "
                 "device after the engine was ready "
                 "(device_allocations_after_ready, reserved_growth_gb)\n");
    return heatkv::server::kGrew;
  }
  return 0;
}
