// One scale of one image of a parity run, on the device that the transformer is
// on: on a CPU as ImageInFlight computes it, on a GPU by the server's group
// step with room for one image, except that bits come from recorded draws.
//
// Refers to the transformer; owns the memory of the cache.  Used by one thread.

#ifndef MODEL_PARITY_SCALE_STEP_H_
#define MODEL_PARITY_SCALE_STEP_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cache/step_plan.h"
#include "model/infinity/image_in_flight.h"
#include "model/infinity/transformer.h"
#include "model/parity/recorded_bits.h"

namespace heatkv::model {

// What a server draws of an image: key and number of its random numbers.
struct ServerDraws {
  std::uint64_t seed = 1;
  std::uint32_t image = 0;
};

class ScaleStep {
 public:
  virtual ~ScaleStep() = default;

  struct Outcome {
    ImageInFlight::ScaleResult result;
    // What a server would have drawn from the same logits, on a GPU by its
    // kernel: bool [tokens, bits a token].
    at::Tensor server_bits;
  };

  // Completes `plan.scale` of the image.  `bits` is the image's source of bits.
  virtual absl::StatusOr<Outcome> Run(ImageInFlight& image, RecordedBits& bits,
                                      const cache::StepPlan& plan,
                                      const ServerDraws& draws) = 0;
};

// What a server draws from `logits` [branches, tokens, 2 * bits a token] of an
// image with these options, in torch's operators.
at::Tensor DrawAsServer(const at::Tensor& logits,
                        const ImageInFlight::Options& options, int scale,
                        const ServerDraws& draws);

// `blocks` is the size of the pool that plans refer to, `dtype` that of stored
// keys and values.
std::unique_ptr<ScaleStep> MakeScaleStep(const InfinityTransformer& transformer,
                                         std::int64_t blocks,
                                         at::ScalarType dtype);

// The device of that name, with its number; InvalidArgument if this machine or
// this build has none, or the model's shape does not suit it.
absl::StatusOr<at::Device> ParityDevice(const std::string& name,
                                        const TransformerSpec& spec);

}  // namespace heatkv::model

#endif  // MODEL_PARITY_SCALE_STEP_H_
