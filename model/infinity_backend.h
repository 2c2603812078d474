// The model backend for the Infinity family, on LibTorch: tokenizer, T5 text
// encoder, transformer and VAE decoder behind the ImageModel interface.
//
// An image does not depend on its company: on the CPU the images of one Step
// are computed one after the other, on a GPU together in a fixed shape.  No
// exception of torch leaves this class.

#ifndef MODEL_INFINITY_BACKEND_H_
#define MODEL_INFINITY_BACKEND_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "model/api/device_memory.h"
#include "model/api/image_model.h"
#include "model/api/model_spec.h"
#include "model/cuda/attention_choice.h"

namespace heatkv::model {

class InfinityBackend {
 public:
  enum class CacheDtype { kFloat32, kBFloat16 };

  struct Options {
    // As torch names it: "cpu", or, in builds with CUDA, "cuda" or "cuda:N".
    std::string device = "cpu";
    // Of keys and values in the arena.  bfloat16 halves the cache and rounds
    // what is stored; the current scale is attended to unrounded.  A GPU always
    // stores bfloat16, in which it also attends, so nothing is lost.
    CacheDtype cache_dtype = CacheDtype::kFloat32;
    // Of torch's CPU operators, process-wide.  0 = as many as cores.
    int threads = 0;
    // Weights drawn from this seed instead of the model's files, for
    // measurements: they change neither speed nor memory.
    std::optional<std::uint64_t> random_weights = std::nullopt;
    // Keeps the text encoder in host memory, computes texts on the CPU and
    // copies what the transformer needs of them to the device.  Saves the
    // encoder's 2.4 GB of a GPU's memory with Infinity-2B.  Texts are then
    // encoded on a thread of their own (PrepareText).
    bool text_encoder_on_cpu = false;
    // Side of the square whose pixels the VAE computes at once in its finest
    // levels (VaeDecoder::Decode); 0: all.  Nothing: VaeTile's choice.
    std::optional<int> vae_tile = std::nullopt;
    // What WarmUp computes: images of all ladders, of the first one, or none.
    // On the CPU, where nothing is recorded, the first scales of the first
    // ladder do for all.
    enum class WarmUp { kNone, kFirst, kAll } warm_up = WarmUp::kAll;
    // The kernel for self-attention on a GPU.
    AttentionChoice attention = AttentionChoice::kFastest;
    // The file of the tokenizer; empty: the one in `folder` that the spec
    // names.
    std::string tokenizer = "";
  };

  // The memory of the device called `device`.  Fails with InvalidArgument if
  // this build or machine has no such device, and with Unavailable if the
  // system does not say.
  static absl::StatusOr<DeviceMemory> ReadMemory(const std::string& device);

  // The tile in use.  By default a GPU computes in bands, which takes a quarter
  // less of its memory, and the CPU whole images, which is faster.
  static int VaeTile(const std::optional<int>& asked, bool is_on_gpu);

  // Bytes of a weight of a text encoder on the CPU next to a model on a GPU.
  static int HostBytesPerWeight();

  // Loads the model that `spec` describes from the files in `folder`.  Fails
  //  - as SafetensorsFile::Open and Tokenizer::Load do, if a file is missing or
  //    broken;
  //  - with InvalidArgument if the spec contradicts itself, if tensors are
  //    missing, superfluous or misshapen (each is named with both shapes), or
  //    if `options` names no device of this machine;
  //  - with InvalidArgument if the kernel that `options` asks for does not run;
  //  - with ResourceExhausted if memory does not suffice.
  static absl::StatusOr<std::unique_ptr<ImageModel>> Create(
      const ModelSpec& spec, const std::string& folder, const Options& options);
};

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_BACKEND_H_
