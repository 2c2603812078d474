#include "model/infinity_backend.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/infinity/bit_source.h"
#include "model/infinity/image_in_flight.h"
#include "model/infinity/key_value_arena.h"
#include "model/infinity/reference_attention.h"
#include "model/infinity/transformer.h"
#include "model/memory_available.h"
#include "model/spec_rules.h"
#include "model/text/t5_encoder.h"
#include "model/text/tokenizer.h"
#include "model/torch_exceptions.h"
#include "model/vae/decoder.h"
#include "model/vae/pixels.h"
#include "model/weights/weight_store.h"

namespace heatkv::model {
namespace {

class InfinityText : public EncodedText {
 public:
  explicit InfinityText(std::shared_ptr<const TextCondition> condition)
      : condition_(std::move(condition)) {}
  int tokens() const override { return condition_->tokens; }
  const std::shared_ptr<const TextCondition>& condition() const {
    return condition_;
  }

 private:
  std::shared_ptr<const TextCondition> condition_;  // shared with its images
};

class InfinityImage : public ImageState {
 public:
  explicit InfinityImage(ImageInFlight image) : image_(std::move(image)) {}
  int next_scale() const override { return image_.next_scale(); }
  ImageInFlight& image() { return image_; }
  const ImageInFlight& image() const { return image_; }

 private:
  ImageInFlight image_;
};

absl::Status CheckKnobs(const SamplingKnobs& knobs, int num_scales) {
  const auto check = [&](const char* name, const std::vector<float>& values) {
    if (static_cast<int>(values.size()) != num_scales) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " has ", values.size(), " values, but the ladder ",
                       num_scales, " scales"));
    }
    for (const float value : values) {
      if (!std::isfinite(value)) {
        return absl::InvalidArgumentError(
            absl::StrCat(name, " holds ", value, ", expected a finite number"));
      }
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(check("guidance", knobs.guidance));
  RETURN_IF_ERROR(check("tau", knobs.tau));
  for (const float tau : knobs.tau) {
    if (tau <= 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("tau holds ", tau, ", expected more than 0"));
    }
  }
  if (!(knobs.top_p > 0 && knobs.top_p <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "top_p is ", knobs.top_p, ", expected more than 0 and at most 1"));
  }
  return absl::OkStatus();
}

// The backend proper.  Every public method is a shell of WithoutExceptions
// around the private method that does the work.
class InfinityModel : public ImageModel {
 public:
  struct Parts {
    std::unique_ptr<const Tokenizer> tokenizer;
    std::unique_ptr<T5Encoder> text_encoder;
    std::unique_ptr<InfinityTransformer> transformer;
    std::unique_ptr<VaeDecoder> vae;
  };

  InfinityModel(const ModelSpec& spec, at::Device device,
                at::ScalarType cache_dtype, Parts parts)
      : spec_(spec),
        device_(device),
        cache_dtype_(cache_dtype),
        parts_(std::move(parts)) {}

  const ModelSpec& spec() const override { return spec_; }

  cache::CacheGeometry cache_geometry() const override {
    return {
        .layers = spec_.transformer.depth,
        .heads = spec_.transformer.heads,
        .head_width = spec_.transformer.head_width(),
        .bytes_per_value = static_cast<int>(c10::elementSize(cache_dtype_))};
  }

  absl::Status CreateArena(std::int64_t blocks) override {
    return WithoutExceptions("creating the cache arena",
                             [&] { return AllocateArena(blocks); });
  }

  absl::StatusOr<int> CountTokens(std::string_view prompt) const override {
    ASSIGN_OR_RETURN(const std::vector<int> ids,
                     parts_.tokenizer->Encode(prompt));
    return static_cast<int>(ids.size());
  }

  absl::StatusOr<std::shared_ptr<const EncodedText>> EncodeText(
      std::string_view prompt) override {
    return WithoutExceptions("encoding the prompt",
                             [&] { return Encode(prompt); });
  }

  absl::StatusOr<std::unique_ptr<ImageState>> StartImage(
      std::shared_ptr<const EncodedText> text, int ladder,
      const SamplingKnobs& knobs) override {
    return WithoutExceptions("starting an image", [&] {
      return Start(std::move(text), ladder, knobs);
    });
  }

  std::vector<absl::Status> Step(std::span<const StepItem> items) override {
    std::vector<absl::Status> statuses;
    for (const StepItem& item : items) {
      statuses.push_back(WithoutExceptions("computing a scale",
                                           [&] { return StepOne(item); }));
    }
    return statuses;
  }

  absl::StatusOr<RgbImage> Decode(const ImageState& image) override {
    return WithoutExceptions("decoding an image",
                             [&] { return DecodeImage(image); });
  }

 private:
  absl::Status AllocateArena(std::int64_t blocks) {
    HEATKV_CHECK(!arena_.has_value()) << "CreateArena is called once";
    const std::int64_t bytes = blocks * cache_geometry().block_bytes();
    const std::optional<std::int64_t> available = MemoryAvailable(device_);
    if (available.has_value() && bytes > *available) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the cache arena of ", blocks, " blocks needs ", bytes,
                       " bytes, but only ", *available, " are available"));
    }
    arena_.emplace(blocks, spec_.transformer.head_width(), cache_dtype_,
                   device_);
    return absl::OkStatus();
  }

  absl::StatusOr<std::shared_ptr<const EncodedText>> Encode(
      std::string_view prompt) {
    ASSIGN_OR_RETURN(const std::vector<int> ids,
                     parts_.tokenizer->Encode(prompt));
    if (static_cast<int>(ids.size()) > spec_.tokenizer.max_length) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the prompt has ", ids.size(), " tokens; the model reads at most ",
          spec_.tokenizer.max_length));
    }
    return std::make_shared<const InfinityText>(
        std::make_shared<const TextCondition>(
            parts_.transformer->EncodeText(parts_.text_encoder->Encode(ids))));
  }

  absl::StatusOr<std::unique_ptr<ImageState>> Start(
      std::shared_ptr<const EncodedText> text, int ladder,
      const SamplingKnobs& knobs) {
    const auto* encoded = dynamic_cast<const InfinityText*>(text.get());
    HEATKV_CHECK(encoded != nullptr) << "text of another backend";
    if (ladder < 0 || ladder >= static_cast<int>(spec_.ladders.size())) {
      return absl::InvalidArgumentError(absl::StrCat("there is no ladder ",
                                                     ladder, "; the model has ",
                                                     spec_.ladders.size()));
    }
    const LadderSpec& chosen = spec_.ladders[ladder];
    RETURN_IF_ERROR(CheckKnobs(knobs, chosen.ladder.num_scales()));
    std::vector<std::shared_ptr<const TextCondition>> texts = {
        encoded->condition()};
    if (knobs.guided()) {
      texts.push_back(std::make_shared<const TextCondition>(
          parts_.transformer->UnconditionalText(encoded->tokens())));
    }
    return std::make_unique<InfinityImage>(ImageInFlight(
        parts_.transformer.get(), std::move(texts),
        {.grids = chosen.ladder.grids(),
         .rope_grid = chosen.rope_grid,
         .guidance = {knobs.guidance.begin(), knobs.guidance.end()},
         .tau = {knobs.tau.begin(), knobs.tau.end()},
         .top_p = knobs.top_p},
        std::make_unique<PhiloxBits>(knobs.seed, knobs.image)));
  }

  absl::Status StepOne(const StepItem& item) {
    if (!arena_.has_value()) {
      return absl::FailedPreconditionError("there is no cache arena yet");
    }
    auto* image = dynamic_cast<InfinityImage*>(item.image);
    HEATKV_CHECK(image != nullptr) << "image of another backend";
    return image->image().Step(*item.plan, attention_, *arena_).status();
  }

  absl::StatusOr<RgbImage> DecodeImage(const ImageState& state) {
    const auto* image = dynamic_cast<const InfinityImage*>(&state);
    HEATKV_CHECK(image != nullptr) << "image of another backend";
    if (image->next_scale() == 0) {
      return absl::FailedPreconditionError(
          "there is nothing to decode before the first scale");
    }
    const at::Tensor decoded =
        parts_.vae->Decode(image->image().summed_codes());
    const auto not_finite =
        decoded.isfinite().logical_not().sum().item<std::int64_t>();
    if (not_finite > 0) {
      return absl::InternalError(
          absl::StrCat(not_finite, " of ", decoded.numel(),
                       " decoded values are not finite"));
    }
    const at::Tensor pixels = PixelsOf(decoded);
    const auto* begin = pixels.const_data_ptr<std::uint8_t>();
    return RgbImage{.height = static_cast<int>(pixels.size(0)),
                    .width = static_cast<int>(pixels.size(1)),
                    .pixels = {begin, begin + pixels.numel()}};
  }

  ModelSpec spec_;
  at::Device device_;
  at::ScalarType cache_dtype_;
  Parts parts_;
  ReferenceAttention attention_;
  std::optional<KeyValueArena> arena_;
};

absl::StatusOr<WeightStore> OpenWeights(const std::string& folder,
                                        const std::vector<std::string>& files,
                                        at::Device device) {
  std::vector<std::string> paths;
  for (const std::string& file : files) {
    paths.push_back(absl::StrCat(folder, "/", file));
  }
  return WeightStore::Open(paths, {.device = device, .dtype = at::kFloat});
}

absl::StatusOr<std::unique_ptr<ImageModel>> Load(
    const ModelSpec& spec, const std::string& folder,
    const InfinityBackend::Options& options) {
  RETURN_IF_ERROR(CheckSpec(spec));
  const at::Device device(options.device);
  if (!device.is_cpu()) {
    return absl::InvalidArgumentError(
        absl::StrCat("device '", options.device,
                     "' is not available; this build has 'cpu'"));
  }
  if (options.threads > 0) at::set_num_threads(options.threads);

  InfinityModel::Parts parts;
  ASSIGN_OR_RETURN(parts.tokenizer, Tokenizer::Load(absl::StrCat(
                                        folder, "/", spec.tokenizer.file)));
  if (parts.tokenizer->vocabulary() > spec.text_encoder.vocabulary) {
    return absl::InvalidArgumentError(
        absl::StrCat("the tokenizer has ", parts.tokenizer->vocabulary(),
                     " pieces, but text_encoder.vocabulary is ",
                     spec.text_encoder.vocabulary));
  }
  ASSIGN_OR_RETURN(WeightStore text_weights,
                   OpenWeights(folder, spec.text_encoder.files, device));
  ASSIGN_OR_RETURN(parts.text_encoder,
                   T5Encoder::Load(spec.text_encoder, std::move(text_weights)));
  ASSIGN_OR_RETURN(WeightStore weights,
                   OpenWeights(folder, spec.transformer.files, device));
  ASSIGN_OR_RETURN(
      parts.transformer,
      InfinityTransformer::Load(spec.transformer, std::move(weights)));
  ASSIGN_OR_RETURN(WeightStore vae_weights,
                   OpenWeights(folder, spec.vae.files, device));
  ASSIGN_OR_RETURN(parts.vae, VaeDecoder::Load(spec.vae, spec.transformer.bits,
                                               std::move(vae_weights)));
  const at::ScalarType cache_dtype =
      options.cache_dtype == InfinityBackend::CacheDtype::kBFloat16
          ? at::kBFloat16
          : at::kFloat;
  return std::make_unique<InfinityModel>(spec, device, cache_dtype,
                                         std::move(parts));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ImageModel>> InfinityBackend::Create(
    const ModelSpec& spec, const std::string& folder, const Options& options) {
  return WithoutExceptions(absl::StrCat("loading the model in ", folder),
                           [&] { return Load(spec, folder, options); });
}

}  // namespace heatkv::model
