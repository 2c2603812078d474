// Two-dimensional rotary position embedding (specification section 3, RoPE2D).
//
// The first half of a head's pairs turns with the row and the second half with
// the column.  Positions are normalised to `rope_grid`, the last grid of the
// aspect's longest ladder, so that all scales of all pixel classes share one
// coordinate system: row i of h stands at round(i * H / h), halves to even.

#ifndef MODEL_INFINITY_ROPE2D_H_
#define MODEL_INFINITY_ROPE2D_H_

#include <ATen/core/Tensor.h>

#include "cache/ladder.h"

namespace heatkv::model {

// The rotations of one scale: cos + i sin, complex64
// [tokens, head_width / 2], tokens row-major.  REQUIRES: head_width % 4 == 0.
at::Tensor RopeRotations(const cache::Grid& grid, const cache::Grid& rope_grid,
                         int head_width, at::Device device);

// Turns adjacent pairs (2p, 2p + 1) of the last dimension.  x is
// [..., tokens, head_width]; the result is contiguous and of x's dtype.
at::Tensor Rotate(const at::Tensor& x, const at::Tensor& rotations);

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_ROPE2D_H_
