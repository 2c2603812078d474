// Every second pixel of every second row of an image twice as large, with a
// bias added: how the four parts of a doubling convolution come together.

#ifndef MODEL_KERNELS_INTERLEAVE_H_
#define MODEL_KERNELS_INTERLEAVE_H_

#include <cstdint>

#include "model/kernels/launch.h"

namespace heatkv::kernels {

// out[2 i, 2 j] = x[i, j] + bias for all i < height and j < width.
struct Interleave {
  // bf16 [height, width, channels], of rows that are `row_pixels` apart.
  const void* x = nullptr;
  const float* bias = nullptr;  // [channels]
  // bf16, the first pixel to write, of rows of 2 * width pixels.
  void* out = nullptr;
  int height = 0;
  int width = 0;
  int row_pixels = 0;
  int channels = 0;  // a multiple of 8
};

void Launch(const Interleave& work, Stream stream);

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_INTERLEAVE_H_
