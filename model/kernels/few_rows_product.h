// The products of few rows with a layer's weights, on Hopper GPUs.
//
// Where a step has so few rows that reading the weights takes longer than the
// arithmetic, two things count: that all multiprocessors read, and that they
// never pause between one product and the next.  So a matrix that has too few
// rows of weights for all multiprocessors is divided along its inputs, too (the
// parts are summed up by the cluster of blocks that made them, through its
// shared memory), and a block fetches its first weights while the kernel in
// front of it is still running.
//
// The bytes of a row of the result depend on that row and on the weights alone,
// not on how many rows there are or on the device's size: every sum is taken in
// the same order.  So a step may have as many rows as it has images.
//
// See launch.h for the conventions.

#ifndef MODEL_KERNELS_FEW_ROWS_PRODUCT_H_
#define MODEL_KERNELS_FEW_ROWS_PRODUCT_H_

#include <cstdint>

#include "model/kernels/launch.h"

namespace heatkv::kernels {

// Rows of x are read in tiles of at most so many.  Tiles that go beyond the
// memory of x are slower than whole ones.
inline constexpr int kMostTileRows = 128;

// out = f(x W^T + bias), sums in float32.
struct FewRowsProduct {
  const void* x = nullptr;        // bf16 [readable_rows, inputs]
  const void* weights = nullptr;  // bf16 [outputs, inputs]
  const void* bias = nullptr;     // bf16 [outputs]
  void* out = nullptr;            // bf16 [rows, outputs]
  std::int64_t rows = 0;
  // Of x that are memory, at least `rows`; what lies in the further ones does
  // not matter.
  std::int64_t readable_rows = 0;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  bool gelu = false;  // f is GELU with the hyperbolic tangent
};

// Whether this program and the current device can do it for such weights:
// compute capability 9.0, and `inputs` and `outputs` that are divided evenly.
bool CanMultiplyFewRows(std::int64_t inputs, std::int64_t outputs);

// REQUIRES: CanMultiplyFewRows; 0 < rows <= readable_rows.  Pointers are
// aligned to 16 bytes. The weights are read before the kernel in front of this
// one has ended: they must be older.
void Launch(const FewRowsProduct& work, Stream stream);

}  // namespace heatkv::kernels

#endif  // MODEL_KERNELS_FEW_ROWS_PRODUCT_H_
