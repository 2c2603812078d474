// Attention of many sequences at once on GPUs of compute capability 9.0, with
// FlashInfer's kernel: queries and results lie token by token, so that nothing
// has to be transposed, and each sequence's keys and values lie anywhere in
// staging.  Which thread block computes what is read from memory
// (attention_work.h), so a recorded launch serves all sequences of a shape.
//
// A sequence's result depends on its queries, keys and values alone, as long as
// all staging rows are finite: the kernel loads whole tiles of keys, gives
// those behind a sequence's end the weight 0, and 0 times what is not finite is
// not 0. deal_attention.h and rotate_scatter.h see to it.

#ifndef MODEL_KERNELS_HOPPER_ATTENTION_H_
#define MODEL_KERNELS_HOPPER_ATTENTION_H_

#include <cstdint>

#include "model/kernels/attention_work.h"
#include "model/kernels/launch.h"

namespace heatkv::kernels {

inline constexpr int kHopperHeadWidth = 128;

struct HopperAttention {
  const void* queries = nullptr;  // bf16 [rows * tokens, heads, head width]
  const void* keys = nullptr;     // bf16 [staging_rows, head width]
  const void* values = nullptr;   // the same
  void* out = nullptr;            // as queries
  // The list of a layer for `shape`, whose blocks are HopperBlocks().
  const std::int32_t* work = nullptr;
  AttentionShape shape;
  std::int64_t staging_rows = 0;  // at least 2
  float scale = 1;                // of the products of queries and keys
};

// Whether this program has the kernel and the current device runs it.
bool CanRunHopperAttention(int head_width);

// Thread blocks of the current device: its multiprocessors.
int HopperBlocks();

// If rows * tokens is 1, memory for 2 is read.
void Launch(const HopperAttention& work, Stream stream);

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_HOPPER_ATTENTION_H_
