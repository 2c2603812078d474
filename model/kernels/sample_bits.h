// From the head's logits of a group of images to their bits: guidance,
// temperature, top-p and the draw (bit_probabilities.h and bit_source.h say the
// same in torch's operators, and equal logits give equal bits).

#ifndef MODEL_KERNELS_SAMPLE_BITS_H_
#define MODEL_KERNELS_SAMPLE_BITS_H_

#include <cstdint>

#include "model/kernels/launch.h"

namespace heatkv::kernels {

// Of one image at one scale.
struct SampleKnobs {
  float inverse_tau = 1;
  float guidance = 1;
  float rest = 0;                 // 1 - guidance
  float threshold = 0;            // 1 - top_p
  std::uint32_t key[2] = {0, 0};  // low and high word of the seed
  std::uint32_t image = 0;
  std::uint32_t scale = 0;
};

struct SampleBits {
  const float* logits = nullptr;       // [images, branches, tokens, 2 * bits]
  const SampleKnobs* knobs = nullptr;  // [images]
  bool* out = nullptr;                 // [images, tokens, bits]
  // [images], to which the number of logits that are not finite is added.
  std::int32_t* not_finite = nullptr;
  int images = 0;
  int branches = 0;
  int tokens = 0;
  int bits = 0;
};

void Launch(const SampleBits& work, Stream stream);

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_SAMPLE_BITS_H_
