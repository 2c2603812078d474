// The convolutions of the VAE's decoder (specification section 6).

#ifndef MODEL_VAE_CONVOLUTION_H_
#define MODEL_VAE_CONVOLUTION_H_

#include <ATen/core/Tensor.h>

#include <string>

#include "model/vae/row_bands.h"
#include "model/weights/weight_store.h"

namespace heatkv::model {

// PREFIX.WRAPPER, or PREFIX where a file has no wrapper level, as older files
// name their tensors.
std::string UnwrappedName(const WeightStore& weights, const std::string& prefix,
                          const std::string& wrapper);

// A square convolution with bias and as much padding as keeps the size.
struct Convolution {
  at::Tensor weight;  // [outputs, inputs, side, side]
  at::Tensor bias;    // [outputs]

  // Takes PREFIX.conv.{weight,bias}, or PREFIX.{weight,bias}.
  static Convolution Take(WeightStore& weights, const std::string& prefix,
                          int outputs, int inputs, int side);

  at::Tensor operator()(const at::Tensor& x) const;

  // On a GPU without the bias, for a kernel that reads the result anyway and
  // adds deferred_bias(), float32; on the CPU with it, and that is undefined.
  at::Tensor Deferred(const at::Tensor& x) const;
  at::Tensor deferred_bias() const;

  // The rows of `band` of the same, from an image's rows with their halo.
  at::Tensor DeferredBand(const at::Tensor& rows_with_halo, RowBand band,
                          std::int64_t height) const;

  // Deferred of rows into rows of an image whose channels lie together, without
  // anything in between.  REQUIRES: the side is 1.
  void DeferInto(const at::Tensor& rows, at::Tensor out) const;
};

// x = x + bias + added, in place; bias as deferred_bias() has it.
void AddTo(at::Tensor& x, const at::Tensor& bias, const at::Tensor& added);

// Nearest doubling of height and width, and a 3x3 convolution of the result.
//
// In parts: of the nine weights that a pixel of the result sees, those that
// fall on the same pixel of x are added up beforehand, so that for each of the
// four positions among a pixel's doubles a 2x2 convolution of x is left.  That
// is four ninths of the work, and the doubled image never is.  It is for GPUs:
// a CPU's convolutions are at their best with 3x3.
class DoublingConvolution {
 public:
  // Takes PREFIX.conv.{weight,bias}, or PREFIX.{weight,bias}.
  static DoublingConvolution Take(WeightStore& weights,
                                  const std::string& prefix, int channels,
                                  bool in_parts);

  std::int64_t channels() const { return bias_.size(0); }

  // x [1, channels, h, w] -> [1, channels, 2 h, 2 w].
  at::Tensor operator()(const at::Tensor& x) const;

  // The rows of x, one of `height`, that `band` of the result is made of.
  static RowBand Sources(RowBand band, std::int64_t height);

  // The rows of `band` of that alone: [1, channels, rows, 2 w].
  at::Tensor Band(const at::Tensor& x, RowBand band) const;

 private:
  // `rows` of x, of which those of `own` are doubled, counted from the first.
  at::Tensor InParts(const at::Tensor& rows, RowBand own) const;

  at::Tensor bias_;    // [channels]
  at::Tensor weight_;  // [channels, channels, 3, 3], or undefined
  // Or else [channels, channels, 2, 2], by row and column, and the bias.
  at::Tensor parts_[2][2];
  at::Tensor wide_bias_;  // float32
};

}  // namespace heatkv::model

#endif  // MODEL_VAE_CONVOLUTION_H_
