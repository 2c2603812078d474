// A step's input from the codes that came out of the step before: the word
// embedding of every token, once for each branch of its image, with the
// embedding of the scale added to it.
//
//   out[slot, branch, token] = (weight codes[slot, token] + bias) + level
//
// All of it is float32, and the products are summed up in the order of the
// bits: the bytes of a token's row depend on its codes and the weights alone,
// not on how many tokens, slots or branches there are or on the device's size.
//
// Weight, bias and level must be there before the kernel in front of this one
// starts; codes may be what that one makes, and `out` what it reads.

#ifndef MODEL_KERNELS_EMBED_CODES_H_
#define MODEL_KERNELS_EMBED_CODES_H_

#include "model/kernels/launch.h"

namespace heatkv::kernels {

// Bits of a token that the kernel takes.
inline constexpr int kMostEmbeddedBits = 88;

// Pointers are aligned to 16 bytes; those of codes and weight need not be where
// `bits` is not a multiple of 4.
struct EmbedCodes {
  const float* codes = nullptr;   // [slots, tokens, bits]
  const float* weight = nullptr;  // [width, bits]
  const float* bias = nullptr;    // [width]
  const float* level = nullptr;   // [width], of the step's scale
  float* out = nullptr;           // [slots, branches, tokens, width]
  int slots = 0;
  int branches = 0;
  int tokens = 0;
  int bits = 0;   // at most kMostEmbeddedBits
  int width = 0;  // a multiple of 4
};

void Launch(const EmbedCodes& work, Stream stream);

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_EMBED_CODES_H_
