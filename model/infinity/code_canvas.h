// The picture's codes as they accumulate from scale to scale, and what the
// transformer sees of them next (specification section 5).
//
// Every scale's bits become codes of +-1/sqrt(d), are stretched to the ladder's
// last grid and summed; the sum, shrunk to the next scale's grid, is the next
// input.  Both ways by trilinear interpolation with time 1, without aligned
// corners or antialiasing.  Always float32.  For a patchify model one token
// covers 2x2 cells of the canvas, and its 4d bits are the d bits of each.

#ifndef MODEL_INFINITY_CODE_CANVAS_H_
#define MODEL_INFINITY_CODE_CANVAS_H_

#include <ATen/core/Tensor.h>

#include "cache/ladder.h"

namespace heatkv::model {

class CodeCanvas {
 public:
  // `bits` of a cell (d); `last` is the last grid of the ladder, in tokens.
  CodeCanvas(const cache::Grid& last, int bits, bool patchify,
             at::Device device);

  // Adds the bits [tokens, bits a token] of a scale that has `grid`.
  void Add(const at::Tensor& bits, const cache::Grid& grid);

  // Input of a scale that has `grid`: [1, tokens, bits a token].
  at::Tensor InputFor(const cache::Grid& grid) const;

  // The sum so far, [1, d, cell rows, cell columns]: what the VAE decodes.
  at::Tensor summed_codes() const { return sum_.squeeze(2); }

  // The same shrunk to `grid`, as the input of a scale is.
  at::Tensor CodesFor(const cache::Grid& grid) const;

 private:
  int bits_;
  bool patchify_;
  at::Tensor sum_;  // [1, d, 1, cell rows, cell columns]
};

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_CODE_CANVAS_H_
