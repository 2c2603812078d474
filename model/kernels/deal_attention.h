// Writes the work lists of attention_work.h of all layers of a step on the GPU,
// from where each layer's sequences begin in staging: in one launch that
// depends on the step's shape alone, so that it can be recorded.
//
// It also sets to 0 the staging rows behind the last sequence of every layer
// that attention loads with that sequence's last keys.  They may never have
// been written, and must be finite.

#ifndef MODEL_KERNELS_DEAL_ATTENTION_H_
#define MODEL_KERNELS_DEAL_ATTENTION_H_

#include <cstdint>

#include "model/kernels/attention_work.h"
#include "model/kernels/launch.h"

namespace heatkv::kernels {

struct DealAttention {
  // Of the first layer: sequences + 1, where each begins in staging.  The next
  // layer's lie `layer_stride` values further on.
  const std::int32_t* key_begin = nullptr;
  std::int64_t layer_stride = 0;
  int layers = 0;
  AttentionShape shape;
  // [layers, AttentionWorkLayout(shape).size()].
  std::int32_t* work = nullptr;
  void* keys = nullptr;  // bf16 staging [staging_rows, head_width]
  void* values = nullptr;
  std::int64_t staging_rows = 0;
  int head_width = 0;  // a multiple of 8
};

// REQUIRES: what a block's tiles cost (TileCost) is less than 2^24.
void Launch(const DealAttention& work, Stream stream);

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_DEAL_ATTENTION_H_
