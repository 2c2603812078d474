#include "model/vae/group_norm.h"

#include <ATen/ATen.h>

#include <tuple>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/vae/convolution.h"
#if HEATKV_CUDA
#include "model/cuda/image_calls.h"
#include "model/cuda/kernel_calls.h"
#endif

namespace heatkv::model {
namespace {

constexpr int kGroups = 32;
constexpr double kEpsilon = 1e-6;

}  // namespace

void GroupSums::Add(const at::Tensor& rows, const at::Tensor& input_bias) {
  const std::int64_t pixels = rows.size(2) * rows.size(3);
  pixels_ += pixels;
#if HEATKV_CUDA
  if (rows.is_cuda()) {
    sums_.push_back(CudaChannelSums(rows, input_bias));
    return;
  }
#endif
  HEATKV_CHECK(!input_bias.defined());
  const std::int64_t size = rows.size(1) / kGroups;
  const auto [variance, mean] = at::var_mean(
      rows.view({kGroups, size, rows.size(2), rows.size(3)}), {1, 2, 3},
      /*correction=*/0);
  const at::Tensor wide = mean.to(at::kDouble);
  sums_.push_back(
      at::stack({wide, variance.to(at::kDouble) + wide.square()}, /*dim=*/1)
          .mul_(static_cast<double>(pixels)));
}

at::Tensor GroupSums::Statistics() const {
  HEATKV_CHECK(!sums_.empty());
#if HEATKV_CUDA
  if (sums_[0].is_cuda()) {
    return CudaGroupStatistics(sums_.size() == 1 ? sums_[0] : at::cat(sums_),
                               pixels_, kGroups, kEpsilon);
  }
#endif
  at::Tensor moments = at::zeros_like(sums_[0]);
  for (const at::Tensor& sums : sums_) moments += sums;
  moments /= static_cast<double>(pixels_);
  const at::Tensor mean = moments.select(1, 0);
  const at::Tensor variance = moments.select(1, 1) - mean.square();
  return at::stack({mean, (variance.clamp_min(0) + kEpsilon).rsqrt()}, 1)
      .to(at::kFloat);
}

GroupNorm GroupNorm::Take(WeightStore& weights, const std::string& prefix,
                          int channels) {
  const std::string name = UnwrappedName(weights, prefix, "norm");
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

at::Tensor GroupNorm::Consume(at::Tensor x,
                              const at::Tensor& input_bias) const {
#if HEATKV_CUDA
  if (x.is_cuda()) {
    return CudaGroupNormSwish(x, input_bias, weight, bias, kGroups, kEpsilon,
                              /*in_place=*/true);
  }
#endif
  HEATKV_CHECK(!input_bias.defined());
  return (*this)(x);
}

at::Tensor GroupNorm::Rows(const at::Tensor& rows, const at::Tensor& input_bias,
                           const at::Tensor& statistics, bool may_write) const {
  at::Tensor out =
      may_write ? rows : at::empty_like(rows, at::MemoryFormat::ChannelsLast);
#if HEATKV_CUDA
  if (rows.is_cuda()) {
    CudaNormaliseSwish(rows, input_bias, weight, bias, statistics, out);
    return out;
  }
#endif
  HEATKV_CHECK(!input_bias.defined());
  const auto by_channel = [&](int column) {
    return statistics.select(1, column).repeat_interleave(rows.size(1) /
                                                          kGroups);
  };
  const at::Tensor scale = by_channel(1) * weight;
  const at::Tensor shift = bias - by_channel(0) * scale;
  at::mul_out(out, rows, scale.view({1, -1, 1, 1}));
  out.add_(shift.view({1, -1, 1, 1}));
  return at::silu_(out);
}

}  // namespace heatkv::model
