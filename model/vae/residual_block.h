// The pieces of the VAE's decoder: convolution, group normalisation, and the
// residual block made of them (specification section 6).

#ifndef MODEL_VAE_RESIDUAL_BLOCK_H_
#define MODEL_VAE_RESIDUAL_BLOCK_H_

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "model/weights/weight_store.h"

namespace heatkv::model {

// A square convolution with bias and as much padding as keeps the size.
struct Convolution {
  at::Tensor weight;  // [outputs, inputs, side, side]
  at::Tensor bias;    // [outputs]

  // Takes PREFIX.conv.{weight,bias}, or PREFIX.{weight,bias} as older files
  // name them.
  static Convolution Take(WeightStore& weights, const std::string& prefix,
                          int outputs, int inputs, int side);

  at::Tensor operator()(const at::Tensor& x) const;

  // On a GPU: without the bias, which whoever reads the result adds.
  at::Tensor WithoutBias(const at::Tensor& x) const;
  at::Tensor wide_bias() const { return bias.to(at::kFloat); }
};

// Group normalisation over 32 groups.
struct GroupNorm {
  at::Tensor weight;  // [channels]
  at::Tensor bias;    // [channels]

  // Takes PREFIX.norm.{weight,bias}, or PREFIX.{weight,bias}.
  static GroupNorm Take(WeightStore& weights, const std::string& prefix,
                        int channels);

  // swish(norm(x)).
  at::Tensor operator()(const at::Tensor& x) const;

  // On a GPU: the same of x + input_bias, where x is used up.
  at::Tensor Consume(at::Tensor x, const at::Tensor& input_bias) const;
};

// x' = shortcut(x) + conv2(swish(norm2(conv1(swish(norm1(x)))))); the shortcut
// is a 1x1 convolution where channels change and the identity elsewhere.
class ResidualBlock {
 public:
  static ResidualBlock Take(WeightStore& weights, const std::string& prefix,
                            int outputs, int inputs);

  // x is used up.
  at::Tensor operator()(at::Tensor x) const;

 private:
  at::Tensor OnGpu(at::Tensor x) const;

  GroupNorm norm1_;
  Convolution conv1_;
  GroupNorm norm2_;
  Convolution conv2_;
  std::optional<Convolution> shortcut_;
};

}  // namespace heatkv::model

#endif  // MODEL_VAE_RESIDUAL_BLOCK_H_
