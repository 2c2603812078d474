#include "model/parity/parity_run.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "cache/block_lists.h"
#include "cache/block_pool.h"
#include "cache/budget.h"
#include "cache/heatkv_solver.h"
#include "cache/ranking.h"
#include "cache/schedule.h"
#include "cache/trajectory.h"
#include "model/infinity/image_in_flight.h"
#include "model/infinity/transformer.h"
#include "model/parity/golden_folder.h"
#include "model/parity/recorded_bits.h"
#include "model/parity/scale_step.h"
#include "model/torch_exceptions.h"
#include "model/vae/decoder.h"
#include "model/vae/pixels.h"

namespace heatkv::model {
namespace {

using Texts = std::vector<std::shared_ptr<const TextCondition>>;

std::string AtScale(int scale, const char* name) {
  return absl::StrFormat("scale%02d.%s", scale, name);
}

at::ScalarType DtypeOf(ParityOptions::Precision precision) {
  return precision == ParityOptions::Precision::kFloat32 ? at::kFloat
                                                         : at::kBFloat16;
}

absl::StatusOr<cache::Schedule> ScheduleOf(const GoldenFolder::Run& run,
                                           const TransformerSpec& spec) {
  const int scales = static_cast<int>(run.grids.size());
  if (!run.heatkv.has_value()) {
    ASSIGN_OR_RETURN(const cache::ScaleLadder ladder,
                     cache::ScaleLadder::Create(
                         run.grids, /*sink_scales=*/std::min(3, scales - 1)));
    return cache::FullSchedule(ladder, spec.depth, spec.heads);
  }
  const GoldenFolder::HeatKv& heatkv = *run.heatkv;
  ASSIGN_OR_RETURN(const cache::ScaleLadder ladder,
                   cache::ScaleLadder::Create(run.grids, heatkv.sink_scales));
  ASSIGN_OR_RETURN(const cache::Ranking ranking,
                   cache::Ranking::Create(spec.depth, spec.heads,
                                          heatkv.sink_scales, heatkv.orders));
  ASSIGN_OR_RETURN(const cache::Budget budget,
                   cache::Budget::Create(heatkv.budget));
  return cache::SolveHeatKv(ladder, spec.depth, spec.heads, ranking, budget);
}

// The run's parts.  Methods are called in the order of their declaration.
class ParityRun {
 public:
  ParityRun(const GoldenFolder& folder, const InfinityTransformer& transformer,
            const VaeDecoder* vae, const ParityOptions& options)
      : folder_(folder),
        run_(folder.run()),
        options_(options),
        transformer_(transformer),
        vae_(vae),
        report_(vae != nullptr) {}

  absl::Status EncodeTexts();
  absl::Status StartImages();
  absl::Status RunScales();
  absl::Status CompareCanvases();
  absl::Status DecodePictures();

  ParityReport report() const { return report_; }

 private:
  absl::Status CompareIfRecorded(const char* kind, const std::string& name,
                                 const at::Tensor& mine);
  absl::Status CompareTexts(const std::vector<at::Tensor>& features);
  absl::Status CompareScale(int scale,
                            const std::vector<ScaleStep::Outcome>& outcomes);
  absl::Status CompareServerBits(
      int scale, const std::vector<ScaleStep::Outcome>& outcomes,
      const at::Tensor& recorded_logits);

  absl::StatusOr<at::Tensor> RecordedBitsOf(int scale) const;

  static ServerDraws DrawsOf(int image) {
    return {.seed = 1, .image = static_cast<std::uint32_t>(image)};
  }
  at::Device device() const { return transformer_.device(); }
  std::int64_t tokens(int scale) const { return run_.grids[scale].tokens(); }
  int bits() const { return transformer_.spec().bits_per_token(); }

  const GoldenFolder& folder_;
  const GoldenFolder::Run& run_;
  const ParityOptions options_;
  const InfinityTransformer& transformer_;
  const VaeDecoder* vae_;  // null without
  ParityReport report_;
  std::vector<Texts> texts_;  // of each image
  std::vector<ImageInFlight> images_;
  std::vector<RecordedBits*> bits_;  // of each image, which owns it
};

absl::Status ParityRun::CompareIfRecorded(const char* kind,
                                          const std::string& name,
                                          const at::Tensor& mine) {
  ASSIGN_OR_RETURN(const std::optional<at::Tensor> recorded,
                   folder_.Find(name, mine.numel()));
  if (recorded.has_value()) report_.Compare(kind, mine, *recorded);
  return absl::OkStatus();
}

absl::Status ParityRun::EncodeTexts() {
  std::int64_t rows = 0;
  for (const int length : run_.text_lengths) rows += length;
  ASSIGN_OR_RETURN(
      const at::Tensor all,
      folder_.Get("text_features", {rows, transformer_.spec().text_width}));
  std::vector<at::Tensor> features;  // prompts, then their unconditional texts
  std::int64_t begin = 0;
  for (const int length : run_.text_lengths) {
    features.push_back(all.narrow(0, begin, length).to(device(), at::kFloat));
    begin += length;
    texts_.push_back({std::make_shared<const TextCondition>(
        transformer_.EncodeText(features.back()))});
  }
  if (run_.guided()) {
    for (int image = 0; image < run_.batch(); ++image) {
      const int length = run_.text_lengths[image];
      features.push_back(transformer_.UnconditionalFeatures(length));
      texts_[image].push_back(std::make_shared<const TextCondition>(
          transformer_.UnconditionalText(length)));
    }
  }
  return CompareTexts(features);
}

absl::Status ParityRun::CompareTexts(const std::vector<at::Tensor>& features) {
  std::vector<at::Tensor> normalised;
  std::vector<at::Tensor> cross_rows;
  for (const at::Tensor& rows : features) {
    normalised.push_back(transformer_.text_projection().Normalise(rows));
    cross_rows.push_back(
        transformer_.text_projection().CrossRows(normalised.back()));
  }
  std::vector<at::Tensor> pooled;
  std::vector<at::Tensor> modulation;
  for (std::size_t branch = 0; branch < texts_[0].size(); ++branch) {
    for (const Texts& texts : texts_) {
      pooled.push_back(texts[branch]->pooled);
      modulation.push_back(texts[branch]->block_modulation);
    }
  }
  RETURN_IF_ERROR(CompareIfRecorded("text", "text_norm", at::cat(normalised)));
  RETURN_IF_ERROR(CompareIfRecorded("text", "ca_kv", at::cat(cross_rows)));
  RETURN_IF_ERROR(CompareIfRecorded("text", "cond_BD", at::cat(pooled)));
  return CompareIfRecorded("text", "cond_gss", at::cat(modulation));
}

absl::StatusOr<at::Tensor> ParityRun::RecordedBitsOf(int scale) const {
  return folder_.Get(AtScale(scale, "bits"),
                     {run_.batch(), tokens(scale), bits()});
}

absl::Status ParityRun::StartImages() {
  // [image][scale]
  std::vector<std::vector<at::Tensor>> draws(run_.batch());
  std::vector<std::vector<at::Tensor>> fed(run_.batch());
  for (int scale = 0; scale < static_cast<int>(run_.grids.size()); ++scale) {
    ASSIGN_OR_RETURN(const at::Tensor noise,
                     folder_.Get(AtScale(scale, "exp_noise"),
                                 {run_.batch(), tokens(scale), bits(), 2}));
    for (int image = 0; image < run_.batch(); ++image) {
      draws[image].push_back(noise[image].to(device(), at::kFloat));
    }
    if (!options_.feed_recorded) continue;
    ASSIGN_OR_RETURN(at::Tensor recorded, RecordedBitsOf(scale));
    ASSIGN_OR_RETURN(
        const std::optional<at::Tensor> others,
        folder_.Find(AtScale(scale, "fed_bits"), recorded.numel()));
    if (others.has_value()) recorded = others->reshape(recorded.sizes());
    for (int image = 0; image < run_.batch(); ++image) {
      fed[image].push_back(recorded[image].to(device()).to(at::kBool));
    }
  }
  for (int image = 0; image < run_.batch(); ++image) {
    auto source = std::make_unique<RecordedBits>(std::move(draws[image]),
                                                 std::move(fed[image]));
    bits_.push_back(source.get());
    images_.emplace_back(&transformer_, texts_[image],
                         ImageInFlight::Options{.grids = run_.grids,
                                                .rope_grid = run_.rope_grid,
                                                .guidance = run_.guidance,
                                                .tau = run_.tau,
                                                .top_p = run_.top_p},
                         std::move(source));
  }
  return absl::OkStatus();
}

absl::Status ParityRun::RunScales() {
  const TransformerSpec& spec = transformer_.spec();
  const int scales = static_cast<int>(run_.grids.size());
  const at::ScalarType dtype = DtypeOf(options_.precision);
  const cache::CacheGeometry geometry = {
      .layers = spec.depth,
      .heads = spec.heads,
      .head_width = spec.head_width(),
      .bytes_per_value = static_cast<int>(c10::elementSize(dtype))};
  ASSIGN_OR_RETURN(cache::Schedule schedule, ScheduleOf(run_, spec));
  const auto trajectory = std::make_shared<const cache::Trajectory>(
      std::make_shared<const cache::Schedule>(std::move(schedule)), geometry,
      images_[0].branches());
  cache::BlockPool pool(trajectory->peak_blocks() * run_.batch());
  std::vector<std::unique_ptr<cache::BlockLists>> lists;
  for (int image = 0; image < run_.batch(); ++image) {
    lists.push_back(std::make_unique<cache::BlockLists>(&pool, trajectory));
  }
  const std::unique_ptr<ScaleStep> step =
      MakeScaleStep(transformer_, pool.capacity(), dtype);
  for (int scale = 0; scale < scales; ++scale) {
    std::vector<ScaleStep::Outcome> outcomes;
    for (int image = 0; image < run_.batch(); ++image) {
      const cache::StepPlan plan = lists[image]->PlanStep(scale);
      ASSIGN_OR_RETURN(
          ScaleStep::Outcome outcome,
          step->Run(images_[image], *bits_[image], plan, DrawsOf(image)));
      lists[image]->FinishStep();
      outcomes.push_back(std::move(outcome));
    }
    RETURN_IF_ERROR(CompareScale(scale, outcomes));
  }
  return absl::OkStatus();
}

absl::Status ParityRun::CompareScale(
    int scale, const std::vector<ScaleStep::Outcome>& outcomes) {
  std::vector<at::Tensor> logits;  // conditional rows, then unconditional ones
  std::vector<at::Tensor> bits;
  std::vector<at::Tensor> next;
  std::vector<at::Tensor> canvases;
  const std::int64_t branches = outcomes[0].result.logits.size(0);
  for (std::int64_t branch = 0; branch < branches; ++branch) {
    for (const auto& outcome : outcomes) {
      logits.push_back(outcome.result.logits[branch]);
    }
  }
  for (const RecordedBits* source : bits_) bits.push_back(source->drawn());
  for (const auto& outcome : outcomes) {
    next.push_back(outcome.result.next_codes);
  }
  for (const ImageInFlight& image : images_) {
    canvases.push_back(image.summed_codes());
  }
  const at::Tensor all_logits = at::stack(logits);
  ASSIGN_OR_RETURN(
      const at::Tensor recorded_logits,
      folder_.Get(AtScale(scale, "logits_raw"), all_logits.sizes().vec()));
  ASSIGN_OR_RETURN(const at::Tensor recorded_bits, RecordedBitsOf(scale));
  report_.CompareScale(all_logits, recorded_logits, at::stack(bits),
                       recorded_bits);
  RETURN_IF_ERROR(CompareServerBits(scale, outcomes, recorded_logits));
  RETURN_IF_ERROR(CompareIfRecorded(
      "summed_codes", AtScale(scale, "summed_codes"), at::cat(canvases)));
  if (!next[0].defined()) return absl::OkStatus();
  return CompareIfRecorded("next_input", AtScale(scale + 1, "word_embed_in"),
                           at::cat(next));
}

absl::Status ParityRun::CompareServerBits(
    int scale, const std::vector<ScaleStep::Outcome>& outcomes,
    const at::Tensor& recorded_logits) {
  // [branch, image, ...] of the recording.
  const at::Tensor recorded =
      recorded_logits.to(at::kFloat)
          .reshape({-1, run_.batch(), tokens(scale), 2 * bits()});
  std::vector<at::Tensor> mine;
  std::vector<at::Tensor> expected;
  for (int image = 0; image < run_.batch(); ++image) {
    mine.push_back(outcomes[image].server_bits);
    expected.push_back(DrawAsServer(recorded.select(1, image),
                                    images_[image].options(), scale,
                                    DrawsOf(image)));
  }
  report_.CompareServerBits(at::stack(mine), at::stack(expected));
  return absl::OkStatus();
}

absl::Status ParityRun::CompareCanvases() {
  std::vector<at::Tensor> canvases;
  for (const ImageInFlight& image : images_) {
    canvases.push_back(image.summed_codes());
  }
  return CompareIfRecorded("summed_codes", "summed_codes", at::cat(canvases));
}

absl::Status ParityRun::DecodePictures() {
  if (vae_ == nullptr) return absl::OkStatus();
  std::vector<at::Tensor> decoded;
  std::vector<at::Tensor> pixels;
  for (const ImageInFlight& image : images_) {
    decoded.push_back(vae_->Decode(image.summed_codes()));
    pixels.push_back(PixelsOf(decoded.back()).flip(-1));  // blue first
  }
  const at::Tensor all_decoded = at::cat(decoded);
  const at::Tensor all_pixels = at::stack(pixels);
  ASSIGN_OR_RETURN(const std::optional<at::Tensor> recorded_decoded,
                   folder_.Find("decoded", all_decoded.numel()));
  if (recorded_decoded.has_value()) {
    // Clamped on both sides, because a recording may be from before or after.
    report_.Compare("decoded", all_decoded.clamp(-1, 1),
                    recorded_decoded->clamp(-1, 1));
  }
  ASSIGN_OR_RETURN(const at::Tensor recorded_pixels,
                   folder_.Get("image_u8_bgr_hwc", all_pixels.sizes().vec()));
  report_.ComparePixels(all_pixels, recorded_pixels);
  return absl::OkStatus();
}

// Where a folder's file really lies: recorded runs share their weights.
std::string PathOf(const std::string& folder, const char* file) {
  std::error_code none;
  return std::filesystem::weakly_canonical(std::filesystem::path(folder) / file,
                                           none)
      .string();
}

}  // namespace

struct ParityRunner::Model {
  // What it was loaded from and for.
  std::string weights;
  std::string vae_weights;  // empty without
  std::string device;
  at::ScalarType dtype = at::kFloat;
  TransformerSpec spec;
  std::optional<VaeSpec> vae_spec;

  std::unique_ptr<const InfinityTransformer> transformer;
  std::unique_ptr<const VaeDecoder> vae;  // null without

  bool IsLike(const Model& other) const {
    return weights == other.weights && vae_weights == other.vae_weights &&
           device == other.device && dtype == other.dtype &&
           spec == other.spec && vae_spec == other.vae_spec;
  }
};

ParityRunner::ParityRunner() = default;
ParityRunner::~ParityRunner() = default;

absl::Status ParityRunner::Load(const std::string& path,
                                const GoldenFolder& folder,
                                const ParityOptions& options) {
  auto model = std::make_unique<Model>();
  model->weights = PathOf(path, "infinity.safetensors");
  model->dtype = DtypeOf(options.precision);
  ASSIGN_OR_RETURN(const WeightStore shapes, folder.TransformerWeights());
  ASSIGN_OR_RETURN(model->spec, folder.ReadTransformerSpec(shapes));
  ASSIGN_OR_RETURN(const at::Device device,
                   ParityDevice(options.device, model->spec));
  if (!device.is_cpu() &&
      options.precision != ParityOptions::Precision::kBFloat16) {
    return absl::InvalidArgumentError(
        absl::StrCat("device '", options.device, "' has bfloat16 only"));
  }
  model->device = device.str();
  if (options.with_vae) {
    model->vae_weights = PathOf(path, "vae.safetensors");
    ASSIGN_OR_RETURN(const WeightStore vae_shapes, folder.VaeWeights());
    ASSIGN_OR_RETURN(model->vae_spec, folder.ReadVaeSpec(vae_shapes));
  }
  if (model_ != nullptr && model_->IsLike(*model)) return absl::OkStatus();
  model_ = nullptr;  // before there is a second one

  const c10::DeviceGuard guard(device);
  const WeightStore::Options stored = {
      .device = device, .dtype = at::kFloat, .matrix_dtype = model->dtype};
  ASSIGN_OR_RETURN(WeightStore weights, folder.TransformerWeights(stored));
  ASSIGN_OR_RETURN(model->transformer,
                   InfinityTransformer::Load(model->spec, std::move(weights)));
  if (model->vae_spec.has_value()) {
    ASSIGN_OR_RETURN(WeightStore vae_weights, folder.VaeWeights(stored));
    ASSIGN_OR_RETURN(model->vae,
                     VaeDecoder::Load(*model->vae_spec, model->spec.bits,
                                      std::move(vae_weights)));
  }
  model_ = std::move(model);
  return absl::OkStatus();
}

absl::StatusOr<ParityReport> ParityRunner::Compare(
    const std::string& path, const ParityOptions& options) {
  ASSIGN_OR_RETURN(const GoldenFolder folder,
                   GoldenFolder::Open(path, options.with_vae));
  RETURN_IF_ERROR(Load(path, folder, options));
  const c10::DeviceGuard guard(model_->transformer->device());
  ParityRun run(folder, *model_->transformer, model_->vae.get(), options);
  RETURN_IF_ERROR(run.EncodeTexts());
  RETURN_IF_ERROR(run.StartImages());
  RETURN_IF_ERROR(run.RunScales());
  RETURN_IF_ERROR(run.CompareCanvases());
  RETURN_IF_ERROR(run.DecodePictures());
  return run.report();
}

absl::StatusOr<ParityReport> ParityRunner::Run(const std::string& folder,
                                               const ParityOptions& options) {
  return WithoutExceptions(absl::StrCat("parity run of ", folder),
                           [&] { return Compare(folder, options); });
}

}  // namespace heatkv::model
