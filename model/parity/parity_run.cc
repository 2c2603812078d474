#include "model/parity/parity_run.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <memory>
#include <optional>
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
  absl::Status CompareScale(
      int scale, const std::vector<ImageInFlight::ScaleResult>& results);

  absl::StatusOr<at::Tensor> RecordedBitsOf(int scale) const;

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
    std::vector<ImageInFlight::ScaleResult> results;
    for (int image = 0; image < run_.batch(); ++image) {
      const cache::StepPlan plan = lists[image]->PlanStep(scale);
      ASSIGN_OR_RETURN(ImageInFlight::ScaleResult result,
                       step->Run(images_[image], *bits_[image], plan));
      lists[image]->FinishStep();
      results.push_back(std::move(result));
    }
    RETURN_IF_ERROR(CompareScale(scale, results));
  }
  return absl::OkStatus();
}

absl::Status ParityRun::CompareScale(
    int scale, const std::vector<ImageInFlight::ScaleResult>& results) {
  std::vector<at::Tensor> logits;  // conditional rows, then unconditional ones
  std::vector<at::Tensor> bits;
  std::vector<at::Tensor> next;
  std::vector<at::Tensor> canvases;
  for (std::int64_t branch = 0; branch < results[0].logits.size(0); ++branch) {
    for (const auto& result : results) logits.push_back(result.logits[branch]);
  }
  for (const RecordedBits* source : bits_) bits.push_back(source->drawn());
  for (const auto& result : results) next.push_back(result.next_codes);
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
  RETURN_IF_ERROR(CompareIfRecorded(
      "summed_codes", AtScale(scale, "summed_codes"), at::cat(canvases)));
  if (!next[0].defined()) return absl::OkStatus();
  return CompareIfRecorded("next_input", AtScale(scale + 1, "word_embed_in"),
                           at::cat(next));
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

absl::StatusOr<ParityReport> Run(const std::string& path,
                                 const ParityOptions& options) {
  ASSIGN_OR_RETURN(const GoldenFolder folder,
                   GoldenFolder::Open(path, options.with_vae));
  ASSIGN_OR_RETURN(const WeightStore shapes, folder.TransformerWeights());
  ASSIGN_OR_RETURN(const TransformerSpec spec,
                   folder.ReadTransformerSpec(shapes));
  ASSIGN_OR_RETURN(const at::Device device, ParityDevice(options.device, spec));
  if (!device.is_cpu() &&
      options.precision != ParityOptions::Precision::kBFloat16) {
    return absl::InvalidArgumentError(
        absl::StrCat("device '", options.device, "' has bfloat16 only"));
  }
  const c10::DeviceGuard guard(device);
  const WeightStore::Options stored = {
      .device = device,
      .dtype = at::kFloat,
      .matrix_dtype = DtypeOf(options.precision)};
  ASSIGN_OR_RETURN(WeightStore weights, folder.TransformerWeights(stored));
  ASSIGN_OR_RETURN(const std::unique_ptr<InfinityTransformer> transformer,
                   InfinityTransformer::Load(spec, std::move(weights)));
  std::unique_ptr<VaeDecoder> vae;
  if (options.with_vae) {
    ASSIGN_OR_RETURN(WeightStore vae_weights, folder.VaeWeights(stored));
    ASSIGN_OR_RETURN(const VaeSpec vae_spec, folder.ReadVaeSpec(vae_weights));
    ASSIGN_OR_RETURN(
        vae, VaeDecoder::Load(vae_spec, spec.bits, std::move(vae_weights)));
  }
  ParityRun run(folder, *transformer, vae.get(), options);
  RETURN_IF_ERROR(run.EncodeTexts());
  RETURN_IF_ERROR(run.StartImages());
  RETURN_IF_ERROR(run.RunScales());
  RETURN_IF_ERROR(run.CompareCanvases());
  RETURN_IF_ERROR(run.DecodePictures());
  return run.report();
}

}  // namespace

absl::StatusOr<ParityReport> RunParity(const std::string& folder,
                                       const ParityOptions& options) {
  return WithoutExceptions(absl::StrCat("parity run of ", folder),
                           [&] { return Run(folder, options); });
}

}  // namespace heatkv::model
