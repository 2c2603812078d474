#include "model/kernels/short_attention.h"
#include "model/kernels/warp_attention.cuh"

namespace heatkv::kernels {
namespace {

struct StagedKeys {
  // The rotation writes them.
  static constexpr bool kAreOlder = false;
  __device__ static HeadKeys Of(const ShortAttention& work, int row, int head) {
    const int sequence = row * work.heads + head;
    const int begin = work.key_begin[sequence];
    HeadKeys of_head;
    of_head.chunks = work.head_width / 8;
    of_head.pitch = std::int64_t{of_head.chunks} * kChunkBytes;
    of_head.count = work.key_begin[sequence + 1] - begin;
    of_head.keys =
        static_cast<const unsigned char*>(work.keys) + begin * of_head.pitch;
    of_head.values =
        static_cast<const unsigned char*>(work.values) + begin * of_head.pitch;
    return of_head;
  }
};

}  // namespace

void Launch(const ShortAttention& work, Stream stream) {
  LaunchWarpAttention<StagedKeys>("short attention", work, stream);
}

}  // namespace heatkv::kernels
