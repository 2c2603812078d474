#include "model/parity/scale_step.h"

#include <ATen/ATen.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/infinity/bit_probabilities.h"
#include "model/infinity/key_value_arena.h"
#include "model/infinity/reference_attention.h"
#if HEATKV_CUDA
#include "model/cuda/group_step.h"
#include "model/cuda/kernel_calls.h"
#endif

namespace heatkv::model {
namespace {

class CpuScaleStep : public ScaleStep {
 public:
  explicit CpuScaleStep(KeyValueArena arena) : arena_(std::move(arena)) {}

  absl::StatusOr<Outcome> Run(ImageInFlight& image, RecordedBits& bits,
                              const cache::StepPlan& plan,
                              const ServerDraws& draws) override {
    static_cast<void>(bits);  // the image has it
    Outcome outcome;
    ASSIGN_OR_RETURN(outcome.result, image.Step(plan, attention_, arena_));
    outcome.server_bits =
        DrawAsServer(outcome.result.logits, image.options(), plan.scale, draws);
    return outcome;
  }

 private:
  KeyValueArena arena_;
  ReferenceAttention attention_;
};

#if HEATKV_CUDA
class CudaScaleStep : public ScaleStep {
 public:
  CudaScaleStep(const InfinityTransformer& transformer, KeyValueArena arena)
      : arena_(std::move(arena)), group_(&transformer, &work_) {}

  absl::StatusOr<Outcome> Run(ImageInFlight& image, RecordedBits& bits,
                              const cache::StepPlan& plan,
                              const ServerDraws& draws) override {
    const int scale = image.next_scale();
    const double guidance = image.options().guidance[scale];
    const GroupMember member{.image = &image,
                             .plan = &plan,
                             .seed = draws.seed,
                             .number = draws.image};
    Outcome outcome;
    ImageInFlight::ScaleResult& result = outcome.result;
    const at::Tensor logits =
        group_.Logits({&member, 1}, /*capacity=*/1, arena_);
    outcome.server_bits = group_.Sample({&member, 1}, logits).bits[0];
    result.logits =
        logits[0].narrow(0, 0, guidance == 1.0 ? 1 : image.branches()).clone();
    result.bits = bits.Draw(
        scale, BitProbabilities(GuidedLogits(result.logits, guidance,
                                             image.options().tau[scale]),
                                image.options().top_p));
    image.Accept(result.bits);
    return outcome;
  }

 private:
  KeyValueArena arena_;
  WorkArena work_;
  GroupStep group_;
};
#endif

}  // namespace

at::Tensor DrawAsServer(const at::Tensor& logits,
                        const ImageInFlight::Options& options, int scale,
                        const ServerDraws& draws) {
  return PhiloxBits(draws.seed, draws.image)
      .Draw(scale,
            BitProbabilities(GuidedLogits(logits, options.guidance[scale],
                                          options.tau[scale]),
                             options.top_p));
}

std::unique_ptr<ScaleStep> MakeScaleStep(const InfinityTransformer& transformer,
                                         std::int64_t blocks,
                                         at::ScalarType dtype) {
  KeyValueArena arena(blocks, transformer.spec().head_width(), dtype,
                      transformer.device());
#if HEATKV_CUDA
  if (transformer.device().is_cuda()) {
    return std::make_unique<CudaScaleStep>(transformer, std::move(arena));
  }
#endif
  return std::make_unique<CpuScaleStep>(std::move(arena));
}

absl::StatusOr<at::Device> ParityDevice(const std::string& name,
                                        const TransformerSpec& spec) {
  const at::Device device(name);
  if (device.is_cpu()) return device;
#if HEATKV_CUDA
  if (device.is_cuda()) {
    const int number = device.has_index() ? device.index() : 0;
    if (number >= CudaDevices()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "device '", name, "' is not available; this machine has ",
          CudaDevices(), " CUDA devices"));
    }
    RETURN_IF_ERROR(GroupStep::CheckShape(spec));
    return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(number));
  }
#else
  static_cast<void>(spec);
#endif
  return absl::InvalidArgumentError(
      absl::StrCat("this build has no device '", name, "'"));
}

}  // namespace heatkv::model
