#include "model/kernels/cross_attention.h"
#include "model/kernels/warp_attention.cuh"

namespace heatkv::kernels {
namespace {

struct TextKeys {
  static constexpr bool kAreOlder = true;
  __device__ static HeadKeys Of(const CrossAttention& work, int row, int head) {
    const RowText text = work.texts[row];
    HeadKeys of_head;
    of_head.chunks = work.head_width / 8;
    of_head.pitch = std::int64_t{work.heads} * of_head.chunks * kChunkBytes;
    of_head.count = text.tokens;
    const std::int64_t part = text.room * of_head.pitch;
    of_head.keys = static_cast<const unsigned char*>(text.keys_values) +
                   2 * work.layer * part +
                   std::int64_t{head} * of_head.chunks * kChunkBytes;
    of_head.values = of_head.keys + part;
    return of_head;
  }
};

}  // namespace

void Launch(const CrossAttention& work, Stream stream) {
  LaunchWarpAttention<TextKeys>("cross-attention", work, stream);
}

}  // namespace heatkv::kernels
