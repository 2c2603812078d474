// The residual block of the VAE's decoder (specification section 6), of a whole
// image or, for large ones, in bands of rows.
//
// In bands, what a block makes between its convolutions is never there for more
// than a band: three images of the block's outputs shrink to two, and an input
// that somebody can make band by band is never there at all.  The result is
// that of the whole image but for rounding; the price is reading the input
// twice and two rows a band too many.

#ifndef MODEL_VAE_RESIDUAL_BLOCK_H_
#define MODEL_VAE_RESIDUAL_BLOCK_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "model/vae/convolution.h"
#include "model/vae/group_norm.h"
#include "model/vae/row_bands.h"
#include "model/weights/weight_store.h"

namespace heatkv::model {

// An image that is made band by band, as often as it is asked for.
struct ImageInBands {
  std::int64_t height = 0;
  std::int64_t width = 0;
  // [1, channels, rows, width], nobody else's.
  std::function<at::Tensor(RowBand)> make;
};

// x' = shortcut(x) + conv2(swish(norm2(conv1(swish(norm1(x)))))); the shortcut
// is a 1x1 convolution where channels change and the identity elsewhere.
class ResidualBlock {
 public:
  static ResidualBlock Take(WeightStore& weights, const std::string& prefix,
                            int outputs, int inputs);

  bool changes_channels() const { return shortcut_.has_value(); }

  // x is used up.
  at::Tensor operator()(at::Tensor x) const;

  // The same in bands of at most `most_pixels`.
  at::Tensor InBands(at::Tensor x, std::int64_t most_pixels) const;
  // REQUIRES: changes_channels().
  at::Tensor InBands(ImageInBands x, std::int64_t most_pixels) const;

 private:
  // Makes rows of an image, which may be written to if they are nobody else's.
  using Rows = std::function<at::Tensor(RowBand)>;

  // `kept` is what the shortcut makes of x; it becomes the result.  `x` is
  // dropped when it has been read.
  at::Tensor AddTo(at::Tensor kept, Rows x, const at::Tensor& statistics,
                   bool may_write, std::int64_t most_pixels) const;
  // Of what is added to the shortcut's result.
  at::Tensor deferred_bias() const;

  GroupNorm norm1_;
  Convolution conv1_;
  GroupNorm norm2_;
  Convolution conv2_;
  std::optional<Convolution> shortcut_;
};

}  // namespace heatkv::model

#endif  // MODEL_VAE_RESIDUAL_BLOCK_H_
