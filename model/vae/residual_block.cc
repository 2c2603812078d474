#include "model/vae/residual_block.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"
#if HEATKV_CUDA
#include "model/cuda/kernel_calls.h"
#endif

namespace heatkv::model {
namespace {

constexpr int kGroups = 32;
constexpr double kEpsilon = 1e-6;

// PREFIX.WRAPPER, or PREFIX where a file has no wrapper level.
std::string Unwrapped(const WeightStore& weights, const std::string& prefix,
                      const std::string& wrapper) {
  const std::string wrapped = absl::StrCat(prefix, ".", wrapper);
  const bool is_legacy = !weights.Has(absl::StrCat(wrapped, ".weight")) &&
                         weights.Has(absl::StrCat(prefix, ".weight"));
  return is_legacy ? prefix : wrapped;
}

}  // namespace

Convolution Convolution::Take(WeightStore& weights, const std::string& prefix,
                              int outputs, int inputs, int side) {
  const std::string name = Unwrapped(weights, prefix, "conv");
  return {.weight = weights
                        .TakeMatrix(absl::StrCat(name, ".weight"),
                                    {outputs, inputs, side, side})
                        .contiguous(at::MemoryFormat::ChannelsLast),
          .bias = weights.TakeMatrix(absl::StrCat(name, ".bias"), {outputs})};
}

at::Tensor Convolution::operator()(const at::Tensor& x) const {
  return at::conv2d(x, weight, bias, /*stride=*/1,
                    /*padding=*/weight.size(2) / 2);
}

at::Tensor Convolution::WithoutBias(const at::Tensor& x) const {
  return at::conv2d(x, weight, /*bias=*/{}, /*stride=*/1,
                    /*padding=*/weight.size(2) / 2);
}

GroupNorm GroupNorm::Take(WeightStore& weights, const std::string& prefix,
                          int channels) {
  const std::string name = Unwrapped(weights, prefix, "norm");
  return {.weight = weights.Take(absl::StrCat(name, ".weight"), {channels}),
          .bias = weights.Take(absl::StrCat(name, ".bias"), {channels})};
}

at::Tensor GroupNorm::operator()(const at::Tensor& x) const {
#if HEATKV_CUDA
  if (x.is_cuda()) {
    return CudaGroupNormSwish(x, {}, weight, bias, kGroups, kEpsilon,
                              /*in_place=*/false);
  }
#endif
  at::Tensor normed = at::group_norm(x, kGroups, weight, bias, kEpsilon);
  return at::silu_(normed);
}

ResidualBlock ResidualBlock::Take(WeightStore& weights,
                                  const std::string& prefix, int outputs,
                                  int inputs) {
  ResidualBlock block;
  block.norm1_ =
      GroupNorm::Take(weights, absl::StrCat(prefix, ".norm1"), inputs);
  block.conv1_ = Convolution::Take(weights, absl::StrCat(prefix, ".conv1"),
                                   outputs, inputs, 3);
  block.norm2_ =
      GroupNorm::Take(weights, absl::StrCat(prefix, ".norm2"), outputs);
  block.conv2_ = Convolution::Take(weights, absl::StrCat(prefix, ".conv2"),
                                   outputs, outputs, 3);
  if (inputs != outputs) {
    block.shortcut_ = Convolution::Take(
        weights, absl::StrCat(prefix, ".nin_shortcut"), outputs, inputs, 1);
  }
  return block;
}

#if HEATKV_CUDA
at::Tensor GroupNorm::Consume(at::Tensor x,
                              const at::Tensor& input_bias) const {
  return CudaGroupNormSwish(x, input_bias, weight, bias, kGroups, kEpsilon,
                            /*in_place=*/true);
}

// Biases are added where the next kernel reads anyway, and images that nobody
// needs again are overwritten.
at::Tensor ResidualBlock::OnGpu(at::Tensor x) const {
  at::Tensor bias = conv2_.wide_bias();
  at::Tensor kept = x;
  at::Tensor normed;
  if (shortcut_.has_value()) {
    kept = shortcut_->WithoutBias(x);
    bias = bias + shortcut_->wide_bias();
    normed = norm1_.Consume(std::move(x), {});
  } else {
    normed = norm1_(x);
  }
  at::Tensor result = conv1_.WithoutBias(normed);
  normed.reset();
  result = norm2_.Consume(std::move(result), conv1_.wide_bias());
  result = conv2_.WithoutBias(result);
  CudaAddBias(result, bias, kept);
  return result;
}
#endif

at::Tensor ResidualBlock::operator()(at::Tensor x) const {
#if HEATKV_CUDA
  if (x.is_cuda()) return OnGpu(std::move(x));
#endif
  at::Tensor result = conv2_(norm2_(conv1_(norm1_(x))));
  return result.add_(shortcut_.has_value() ? (*shortcut_)(x) : x);
}

}  // namespace heatkv::model
