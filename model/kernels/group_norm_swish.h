// swish(group normalisation) of an image whose channels lie together, as the
// VAE's convolutions want them: at once, or in three steps for an image that is
// there in bands only.  Sums are added in a fixed order, so results repeat bit
// by bit.

#ifndef MODEL_KERNELS_GROUP_NORM_SWISH_H_
#define MODEL_KERNELS_GROUP_NORM_SWISH_H_

#include <cstdint>

#include "model/kernels/launch.h"

namespace heatkv::kernels {

// Sums and sums of squares of each channel of x + input_bias, over the pixels
// of each of `chunks` chunks.
struct ChannelSums {
  const void* x = nullptr;            // bf16 [pixels, channels]
  const float* input_bias = nullptr;  // [channels]; null: none
  float* sums = nullptr;              // [chunks, 2, channels]
  std::int64_t pixels = 0;
  int channels = 0;  // a multiple of 8, at most 2048
  int chunks = 0;
};

// As many as are worth it.
int SumChunks(std::int64_t pixels);

// From the sums of a whole image, whatever bands they were made of.
struct GroupStatistics {
  const float* sums = nullptr;  // [chunks, 2, channels]
  float* statistics = nullptr;  // [groups, 2]: mean, 1 / standard deviation
  std::int64_t pixels = 0;      // of the image
  int chunks = 0;
  int channels = 0;
  int groups = 0;
  float epsilon = 0;
};

// swish(norm(x + input_bias)) of any pixels, with given statistics.
struct NormaliseSwish {
  const void* x = nullptr;            // bf16 [pixels, channels]
  const float* input_bias = nullptr;  // [channels]; null: none
  const float* weight = nullptr;      // [channels]
  const float* bias = nullptr;        // [channels]
  const float* statistics = nullptr;  // [groups, 2]
  void* out = nullptr;                // bf16 [pixels, channels]; may be x
  std::int64_t pixels = 0;
  int channels = 0;
  int groups = 0;
};

void Launch(const ChannelSums& work, Stream stream);
void Launch(const GroupStatistics& work, Stream stream);
void Launch(const NormaliseSwish& work, Stream stream);

// All of it.
struct GroupNormSwish {
  const void* x = nullptr;  // bf16 [pixels, channels]
  // Added to x first, [channels]; null: nothing.
  const float* input_bias = nullptr;
  const float* weight = nullptr;  // [channels]
  const float* bias = nullptr;    // [channels]
  float* partial_sums = nullptr;  // WorkspaceFloats() of them
  void* out = nullptr;            // bf16 [pixels, channels]; may be x
  std::int64_t pixels = 0;
  int channels = 0;  // a multiple of 8 and of groups, at most 2048
  int groups = 0;
  float epsilon = 0;
};

// x = x + bias + added, in place, of the same kind of image.
struct BiasAdd {
  void* x = nullptr;            // bf16 [pixels, channels]
  const float* bias = nullptr;  // [channels]
  const void* added = nullptr;  // bf16 [pixels, channels]; null: nothing
  std::int64_t pixels = 0;
  int channels = 0;  // a multiple of 8, at most 2048
};

void Launch(const BiasAdd& work, Stream stream);

std::int64_t WorkspaceFloats(const GroupNormSwish& work);

void Launch(const GroupNormSwish& work, Stream stream);

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_GROUP_NORM_SWISH_H_
