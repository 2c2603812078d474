#include "model/infinity_backend.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/DeviceGuard.h>

#include <optional>
#include <string_view>
#include <type_traits>
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
#include "model/knob_rules.h"
#include "model/memory_available.h"
#include "model/memory_plan.h"
#include "model/prompt_texts.h"
#include "model/spec_rules.h"
#include "model/text/t5_encoder.h"
#include "model/text/tokenizer.h"
#include "model/torch_exceptions.h"
#include "model/vae/decoder.h"
#include "model/vae/pixels.h"
#include "model/warm_up.h"
#include "model/weights/weight_store.h"
#if HEATKV_CUDA
#include "model/cuda/group_step.h"
#include "model/cuda/kernel_calls.h"
#include "model/cuda/memory_report.h"
#include "model/cuda/recorded_decoder.h"
#include "model/cuda/staged_attention.h"
#include "model/cuda/work_arena.h"
#endif

namespace heatkv::model {
namespace {

class InfinityText : public EncodedText {
 public:
  explicit InfinityText(std::shared_ptr<const TextCondition> condition)
      : condition_(std::move(condition)) {}
  int tokens() const override { return condition_->tokens; }
  std::int64_t bytes() const override { return condition_->bytes(); }
  const std::shared_ptr<const TextCondition>& condition() const {
    return condition_;
  }

 private:
  std::shared_ptr<const TextCondition> condition_;  // shared with its images
};

class InfinityImage : public ImageState {
 public:
  InfinityImage(ImageInFlight image, int ladder, const SamplingKnobs& knobs)
      : image_(std::move(image)),
        ladder_(ladder),
        seed_(knobs.seed),
        number_(knobs.image) {}
  int next_scale() const override { return image_.next_scale(); }
  ImageInFlight& image() { return image_; }
  const ImageInFlight& image() const { return image_; }
  int ladder() const { return ladder_; }
  std::uint64_t seed() const { return seed_; }
  std::uint32_t number() const { return number_; }

 private:
  ImageInFlight image_;
  int ladder_;
  std::uint64_t seed_;
  std::uint32_t number_;
};

// Of the largest scale that is computed to warm up a CPU.
constexpr std::int64_t kCpuWarmRows = 32;

// The backend proper.  Every public method is a shell of WithoutExceptions
// around the private method that does the work.
class InfinityModel : public ImageModel {
 public:
  using Options = InfinityBackend::Options;

  struct Parts {
    std::unique_ptr<const Tokenizer> tokenizer;
    std::unique_ptr<T5Encoder> text_encoder;
    std::unique_ptr<InfinityTransformer> transformer;
    std::unique_ptr<VaeDecoder> vae;
  };

  InfinityModel(const ModelSpec& spec, at::Device device,
                at::ScalarType cache_dtype, const Options& options, Parts parts)
      : spec_(spec),
        device_(device),
        cache_dtype_(cache_dtype),
        warm_up_(options.warm_up),
        vae_tile_(InfinityBackend::VaeTile(options.vae_tile, !device.is_cpu())),
        parts_(std::move(parts)) {
    WorkArena* work = nullptr;
#if HEATKV_CUDA
    if (device_.is_cuda()) {
      work = &work_.emplace();
      group_.emplace(parts_.transformer.get(), work);
      group_->set_attention(options.attention);
    }
#endif
    texts_.emplace(parts_.tokenizer.get(), parts_.text_encoder.get(),
                   parts_.transformer.get(), spec_.tokenizer.max_length,
                   options.text_encoder_on_cpu, work);
  }

  const ModelSpec& spec() const override { return spec_; }

  cache::CacheGeometry cache_geometry() const override {
    return {
        .layers = spec_.transformer.depth,
        .heads = spec_.transformer.heads,
        .head_width = spec_.transformer.head_width(),
        .bytes_per_value = static_cast<int>(c10::elementSize(cache_dtype_))};
  }

  absl::Status CreateArena(std::int64_t blocks) override {
    return OnDevice("creating the cache arena",
                    [&] { return AllocateArena(blocks); });
  }

  absl::Status WarmUp() override {
    if (warm_up_ == Options::WarmUp::kNone) return absl::OkStatus();
    if (device_.is_cpu()) {
      ASSIGN_OR_RETURN(const auto text, LongText(1));
      return model::WarmUp(*this, text,
                           {.ladders = {0}, .most_rows = kCpuWarmRows});
    }
    // The longest text, so that the allocator has had all that texts need.
    ASSIGN_OR_RETURN(const auto text, LongText(spec_.tokenizer.max_length));
    return WarmUpRecorded(*this, text,
                          warm_up_ == Options::WarmUp::kAll
                              ? LaddersToWarm(spec_)
                              : std::vector<int>{0},
                          warm_up_progress_);
  }

  void TellWarmUpTo(WarmUpProgress progress) override {
    warm_up_progress_ = std::move(progress);
  }

  absl::StatusOr<int> CountTokens(std::string_view prompt) const override {
    ASSIGN_OR_RETURN(const std::vector<int> ids,
                     parts_.tokenizer->Encode(prompt));
    return static_cast<int>(ids.size());
  }

  void PrepareText(std::string_view prompt) override {
    texts_->Prepare(prompt);
  }

  bool IsTextReady(std::string_view prompt) const override {
    return texts_->IsReady(prompt);
  }

  absl::StatusOr<std::shared_ptr<const EncodedText>> EncodeText(
      std::string_view prompt) override {
    return OnDevice("encoding the prompt", [&] { return Encode(prompt); });
  }

  absl::StatusOr<std::unique_ptr<ImageState>> StartImage(
      std::shared_ptr<const EncodedText> text, int ladder,
      const SamplingKnobs& knobs) override {
    return OnDevice("starting an image",
                    [&] { return Start(std::move(text), ladder, knobs); });
  }

  std::vector<absl::Status> Step(std::span<const StepItem> items) override {
    std::vector<absl::Status> statuses;
#if HEATKV_CUDA
    if (group_.has_value()) {
      const absl::Status status = OnDevice(
          "computing a scale", [&] { return StepTogether(items, &statuses); });
      if (!status.ok()) statuses.assign(items.size(), status);
      return statuses;
    }
#endif
    for (const StepItem& item : items) {
      statuses.push_back(
          OnDevice("computing a scale", [&] { return StepOne(item); }));
    }
    return statuses;
  }

  absl::StatusOr<RgbImage> Decode(const ImageState& image) override {
    return OnDevice("decoding an image", [&] { return DecodeImage(image); });
  }

 private:
  // Runs `body` with the model's device as the current one.
  template <typename Body>
  std::invoke_result_t<Body> OnDevice(std::string_view what, Body body) {
    return WithoutExceptions(what, [&] {
      const c10::DeviceGuard guard(device_);
      return body();
    });
  }

  absl::Status AllocateArena(std::int64_t blocks) {
    HEATKV_CHECK(!arena_.has_value()) << "CreateArena is called once";
    const std::int64_t bytes = blocks * cache_geometry().block_bytes();
    const std::int64_t work =
        device_.is_cpu() ? 0 : PlanWork(spec_, vae_tile_).arena();
    const std::optional<DeviceMemory> memory = MemoryOf(device_);
    if (memory.has_value() && bytes + work > memory->available) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "the cache arena of ", blocks, " blocks needs ", bytes, " bytes",
          work == 0 ? ""
                    : absl::StrCat(", and steps and decodings need ", work),
          ", but only ", memory->available, " are available"));
    }
#if HEATKV_CUDA
    if (work_.has_value()) {
      ReleaseUnusedMemory();  // the arena does not make use of it
      work_->Reserve(work);
      decoder_.emplace(parts_.vae.get(), &*work_, vae_tile_,
                       kRecordedDecodingPixels);
    }
#endif
    arena_.emplace(blocks, spec_.transformer.head_width(), cache_dtype_,
                   device_);
    return absl::OkStatus();
  }

  // A text of so many tokens, once no text has to be recorded any more.
  absl::StatusOr<std::shared_ptr<const EncodedText>> LongText(int tokens) {
    using Text = std::shared_ptr<const EncodedText>;
    return OnDevice("warming up", [&]() -> absl::StatusOr<Text> {
      texts_->RecordAll();
      return std::make_shared<const InfinityText>(
          texts_->Encode(std::vector<int>(tokens, Tokenizer::kEndOfSequence)));
    });
  }

  absl::StatusOr<std::shared_ptr<const EncodedText>> Encode(
      std::string_view prompt) {
    ASSIGN_OR_RETURN(std::shared_ptr<const TextCondition> condition,
                     texts_->Encode(prompt));
    return std::make_shared<const InfinityText>(std::move(condition));
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
      texts.push_back(texts_->Unconditional(encoded->tokens()));
    }
    return std::make_unique<InfinityImage>(
        ImageInFlight(
            parts_.transformer.get(), std::move(texts),
            {.grids = chosen.ladder.grids(),
             .rope_grid = chosen.rope_grid,
             .guidance = {knobs.guidance.begin(), knobs.guidance.end()},
             .tau = {knobs.tau.begin(), knobs.tau.end()},
             .top_p = knobs.top_p},
            std::make_unique<PhiloxBits>(knobs.seed, knobs.image)),
        ladder, knobs);
  }

  absl::Status StepOne(const StepItem& item) {
    if (!arena_.has_value()) {
      return absl::FailedPreconditionError("there is no cache arena yet");
    }
    auto* image = dynamic_cast<InfinityImage*>(item.image);
    HEATKV_CHECK(image != nullptr) << "image of another backend";
    return image->image().Step(*item.plan, attention_, *arena_).status();
  }

#if HEATKV_CUDA
  absl::Status StepTogether(std::span<const StepItem> items,
                            std::vector<absl::Status>* statuses) {
    if (!arena_.has_value()) {
      return absl::FailedPreconditionError("there is no cache arena yet");
    }
    std::vector<GroupMember> members;
    int capacity = 0;
    for (const StepItem& item : items) {
      auto* image = dynamic_cast<InfinityImage*>(item.image);
      HEATKV_CHECK(image != nullptr) << "image of another backend";
      capacity = GroupCapacity(spec_, image->ladder(), image->next_scale(),
                               image->image().branches());
      members.push_back({.image = &image->image(),
                         .plan = item.plan,
                         .seed = image->seed(),
                         .number = image->number()});
    }
    *statuses = group_->Run(members, capacity, *arena_);
    return absl::OkStatus();
  }
#endif

  absl::StatusOr<RgbImage> DecodeImage(const ImageState& state) {
    const auto* image = dynamic_cast<const InfinityImage*>(&state);
    HEATKV_CHECK(image != nullptr) << "image of another backend";
    if (image->next_scale() == 0) {
      return absl::FailedPreconditionError(
          "there is nothing to decode before the first scale");
    }
    const at::Tensor codes = image->image().ShownCodes();
#if HEATKV_CUDA
    if (decoder_.has_value()) {
      const WorkArena::Use use(*work_);
      return PictureOf(decoder_->Decode(codes, use));
    }
#endif
    return PictureOf(parts_.vae->Decode(codes, vae_tile_));
  }

  ModelSpec spec_;
  at::Device device_;
  at::ScalarType cache_dtype_;
  Options::WarmUp warm_up_;
  int vae_tile_;
  WarmUpProgress warm_up_progress_;
  Parts parts_;
  ReferenceAttention attention_;
#if HEATKV_CUDA
  // On a GPU.  The others work in the first.
  std::optional<WorkArena> work_;
  std::optional<GroupStep> group_;
  std::optional<RecordedDecoder> decoder_;  // since CreateArena
#endif
  std::optional<KeyValueArena> arena_;
  // Uses the parts and the work arena, so it is the first to go.
  std::optional<PromptTexts> texts_;
};

absl::StatusOr<WeightStore> OpenWeights(const std::string& folder,
                                        const std::vector<std::string>& files,
                                        const WeightStore::Options& options) {
  std::vector<std::string> paths;
  for (const std::string& file : files) {
    paths.push_back(absl::StrCat(folder, "/", file));
  }
  return WeightStore::Open(paths, options);
}

// The device that `name` names, with its number.
absl::StatusOr<at::Device> FindDevice(const std::string& name) {
  const at::Device device(name);
  if (device.is_cpu()) return device;
#if HEATKV_CUDA
  if (device.is_cuda()) {
    const int number = device.has_index() ? device.index() : 0;
    const int devices = CudaDevices();
    if (number >= devices) {
      return absl::InvalidArgumentError(absl::StrCat(
          "device '", name, "' is not available; this machine has ", devices,
          " CUDA devices"));
    }
    return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(number));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "device '", name, "' is not available; this build has 'cpu' and 'cuda'"));
#else
  return absl::InvalidArgumentError(absl::StrCat(
      "device '", name, "' is not available; this build has 'cpu'"));
#endif
}

absl::StatusOr<std::unique_ptr<const Tokenizer>> LoadTokenizer(
    const ModelSpec& spec, const std::string& folder,
    const std::string& tokenizer) {
  const std::string file = tokenizer.empty()
                               ? absl::StrCat(folder, "/", spec.tokenizer.file)
                               : tokenizer;
  ASSIGN_OR_RETURN(std::unique_ptr<const Tokenizer> loaded,
                   Tokenizer::Load(file));
  if (loaded->vocabulary() > spec.text_encoder.vocabulary) {
    return absl::InvalidArgumentError(
        absl::StrCat("the tokenizer ", file, " has ", loaded->vocabulary(),
                     " pieces, but text_encoder.vocabulary is ",
                     spec.text_encoder.vocabulary));
  }
  return loaded;
}

absl::StatusOr<std::unique_ptr<ImageModel>> Load(
    const ModelSpec& spec, const std::string& folder,
    const InfinityBackend::Options& options) {
  RETURN_IF_ERROR(CheckSpec(spec));
  ASSIGN_OR_RETURN(const at::Device device, FindDevice(options.device));
#if HEATKV_CUDA
  if (device.is_cuda()) {
    RETURN_IF_ERROR(GroupStep::CheckShape(spec.transformer));
    TakeMemoryInGrowingSegments();
  }
#endif
  const c10::DeviceGuard guard(device);
#if HEATKV_CUDA
  if (device.is_cuda()) {
    RETURN_IF_ERROR(
        CheckAttention(options.attention, spec.transformer.head_width()));
  }
#endif
  if (options.threads > 0) at::set_num_threads(options.threads);

  InfinityModel::Parts parts;
  ASSIGN_OR_RETURN(parts.tokenizer,
                   LoadTokenizer(spec, folder, options.tokenizer));
  const WeightStore::Options stored = {
      .device = device,
      .dtype = at::kFloat,
      .matrix_dtype = device.is_cpu() ? at::kFloat : at::kBFloat16};
  WeightStore::Options text_stored = stored;
  if (options.text_encoder_on_cpu && !device.is_cpu()) {
    text_stored.device = at::kCPU;
    text_stored.matrix_dtype = T5Encoder::HostDtype();
  }
  std::uint64_t part = 0;  // each of the three has a seed of its own
  const auto open =
      [&](const std::vector<std::string>& files,
          const WeightStore::Options& how) -> absl::StatusOr<WeightStore> {
    if (!options.random_weights.has_value()) {
      return OpenWeights(folder, files, how);
    }
    return WeightStore::Random(*options.random_weights + part++,
                               spec.transformer.depth, how);
  };
  ASSIGN_OR_RETURN(WeightStore text_weights,
                   open(spec.text_encoder.files, text_stored));
  ASSIGN_OR_RETURN(parts.text_encoder,
                   T5Encoder::Load(spec.text_encoder, std::move(text_weights)));
  ASSIGN_OR_RETURN(WeightStore weights, open(spec.transformer.files, stored));
  ASSIGN_OR_RETURN(
      parts.transformer,
      InfinityTransformer::Load(spec.transformer, std::move(weights)));
  ASSIGN_OR_RETURN(WeightStore vae_weights, open(spec.vae.files, stored));
  ASSIGN_OR_RETURN(parts.vae, VaeDecoder::Load(spec.vae, spec.transformer.bits,
                                               std::move(vae_weights)));
  const at::ScalarType cache_dtype =
      !device.is_cpu() ||
              options.cache_dtype == InfinityBackend::CacheDtype::kBFloat16
          ? at::kBFloat16
          : at::kFloat;
#if HEATKV_CUDA
  // What tensors were converted from.
  if (device.is_cuda()) ReleaseUnusedMemory();
#endif
  return std::make_unique<InfinityModel>(spec, device, cache_dtype, options,
                                         std::move(parts));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ImageModel>> InfinityBackend::Create(
    const ModelSpec& spec, const std::string& folder, const Options& options) {
  return WithoutExceptions(absl::StrCat("loading the model in ", folder),
                           [&] { return Load(spec, folder, options); });
}

int InfinityBackend::VaeTile(const std::optional<int>& asked, bool is_on_gpu) {
  constexpr int kOnGpu = 512;
  return asked.value_or(is_on_gpu ? kOnGpu : 0);
}

int InfinityBackend::HostBytesPerWeight() {
  return static_cast<int>(c10::elementSize(T5Encoder::HostDtype()));
}

absl::StatusOr<DeviceMemory> InfinityBackend::ReadMemory(
    const std::string& device) {
  return WithoutExceptions(
      "reading the device's memory", [&]() -> absl::StatusOr<DeviceMemory> {
        ASSIGN_OR_RETURN(const at::Device found, FindDevice(device));
        const auto memory = MemoryOf(found);
        if (!memory.has_value()) {
          return absl::UnavailableError(absl::StrCat(
              "the system does not say how much memory '", device, "' has"));
        }
        return *memory;
      });
}

}  // namespace heatkv::model
