// One pass over the residual stream: adds a gated branch to it, normalises the
// sum, and scales and shifts the result for the next product.
//
//   x   = x + gate * added
//   out = LN(x) * (offset + scale) + shift
//
// It may store keys and values that survive at the same time.
//
// Gate, scale, shift and the list of stores must be there before the kernel in
// front of this one starts.
//
// Statistics and sums are float32.  A row of a group (one branch of one image)
// has its own gate, scale and shift; each is the sum of a part that belongs to
// the layer and a part that belongs to the row's text.

#ifndef MODEL_KERNELS_RESIDUAL_NORM_H_
#define MODEL_KERNELS_RESIDUAL_NORM_H_

#include <cstdint>

#include "model/kernels/launch.h"
#include "model/kernels/span_copy.h"

namespace heatkv::kernels {

// Value c of row r is layer[c] + rows[r * row_stride + c]; a null part is 0.
struct RowVector {
  const float* layer = nullptr;
  const float* rows = nullptr;
  std::int64_t row_stride = 0;
};

struct ResidualNorm {
  float* x = nullptr;           // [rows, tokens, width]
  const void* added = nullptr;  // bf16, of the same shape; null: nothing
  bool gated = false;           // else the gate is 1
  RowVector gate;
  float offset = 0;
  RowVector scale;
  RowVector shift;
  float epsilon = 0;
  void* out_bf16 = nullptr;    // either this
  float* out_float = nullptr;  // or that
  int rows = 0;
  int tokens = 0;
  int width = 0;    // a multiple of 4, at most 8192
  SpanCopy stores;  // staging to arena
};

void Launch(const ResidualNorm& work, Stream stream);

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_RESIDUAL_NORM_H_
