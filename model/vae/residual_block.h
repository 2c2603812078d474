// The residual block of the VAE's decoder (specification section 6), of a whole
// image or, for large ones, in bands of rows.
//
// In bands, a block holds two images of its outputs, counting its result: what
// its first convolution makes, and the input, which becomes the result, or,
// where the input is made band by band, the shortcut's image, which does.  All
// else is there for a band.  The first convolution's result is kept as bands
// with their halo, which is room that the convolution itself leaves, so that it
// is normalised where it lies and each band is given back as soon as the second
// convolution has read it.  An input that is made is made twice: for the sums
// of the norm and the shortcut, and for the first convolution, while that of
// which it is made goes band by band.
//
// The result is that of the whole image but for rounding; the price is reading
// the input twice and two rows a band too many, in time and, for what the first
// convolution makes, in memory: bands of only a few rows take more than wider
// ones.

#ifndef MODEL_VAE_RESIDUAL_BLOCK_H_
#define MODEL_VAE_RESIDUAL_BLOCK_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model/vae/convolution.h"
#include "model/vae/group_norm.h"
#include "model/vae/image_in_bands.h"
#include "model/vae/row_bands.h"
#include "model/weights/weight_store.h"

namespace heatkv::model {

// x' = shortcut(x) + conv2(swish(norm2(conv1(swish(norm1(x)))))); the shortcut
// is a 1x1 convolution where channels change and the identity elsewhere.
class ResidualBlock {
 public:
  static ResidualBlock Take(WeightStore& weights, const std::string& prefix,
                            int outputs, int inputs);

  bool changes_channels() const { return shortcut_.has_value(); }

  // x is used up.
  at::Tensor operator()(at::Tensor x) const;

  // The same in bands of at most `most_pixels`; x is overwritten.
  // REQUIRES: !changes_channels().
  at::Tensor InBands(at::Tensor x, std::int64_t most_pixels) const;
  // REQUIRES: changes_channels().
  at::Tensor InBands(ImageInBands& x, std::int64_t most_pixels) const;

 private:
  // Makes rows of an image.
  using Rows = std::function<at::Tensor(RowBand)>;

  // What conv2 reads, `bands` with their halos, of an image x of `height` with
  // these statistics; with `may_write` the rows that it makes are nobody
  // else's.
  std::vector<at::Tensor> Hidden(const Rows& x, std::int64_t height,
                                 const at::Tensor& statistics, bool may_write,
                                 const std::vector<RowBand>& bands) const;
  // Adds to the shortcut's image, without its bias, what conv2 makes of
  // `hidden`.
  void AddHidden(std::vector<at::Tensor> hidden,
                 const std::vector<RowBand>& bands, at::Tensor& image) const;
  GroupNorm norm1_;
  Convolution conv1_;
  GroupNorm norm2_;
  Convolution conv2_;
  std::optional<Convolution> shortcut_;
  // As Convolution::deferred_bias has them: conv1's, and that of the result.
  at::Tensor hidden_bias_;
  at::Tensor result_bias_;
};

}  // namespace heatkv::model

#endif  // MODEL_VAE_RESIDUAL_BLOCK_H_
