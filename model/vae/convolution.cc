#include "model/vae/convolution.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#if HEATKV_CUDA
#include "model/cuda/image_calls.h"
#include "model/cuda/kernel_calls.h"
#endif

namespace heatkv::model {
namespace {

constexpr auto kChannelsLast = at::MemoryFormat::ChannelsLast;

// The weights of `side` of three that fall on the same of two pixels, along
// dimension `dim`: the first of two doubles sees one pixel before its own, the
// second one behind it.
at::Tensor Merge(const at::Tensor& weight, int dim, int position) {
  const at::Tensor ends =
      position == 0 ? weight.narrow(dim, 0, 1) : weight.narrow(dim, 2, 1);
  const at::Tensor both =
      weight.narrow(dim, position == 0 ? 1 : 0, 2).sum({dim}, /*keepdim=*/true);
  return position == 0 ? at::cat({ends, both}, dim)
                       : at::cat({both, ends}, dim);
}

// [pixels, channels] of rows whose channels lie together.
at::Tensor Pixels(const at::Tensor& rows) {
  return rows.permute({0, 2, 3, 1}).view({-1, rows.size(1)});
}

// Rows of an image whose doubles are or contain those of `band`.
RowBand Undoubled(RowBand band) {
  return {band.first / 2, (band.last + 1) / 2};
}

}  // namespace

std::string UnwrappedName(const WeightStore& weights, const std::string& prefix,
                          const std::string& wrapper) {
  const std::string wrapped = absl::StrCat(prefix, ".", wrapper);
  const bool is_legacy = !weights.Has(absl::StrCat(wrapped, ".weight")) &&
                         weights.Has(absl::StrCat(prefix, ".weight"));
  return is_legacy ? prefix : wrapped;
}

Convolution Convolution::Take(WeightStore& weights, const std::string& prefix,
                              int outputs, int inputs, int side) {
  const std::string name = UnwrappedName(weights, prefix, "conv");
  return {.weight = weights
                        .TakeMatrix(absl::StrCat(name, ".weight"),
                                    {outputs, inputs, side, side})
                        .contiguous(kChannelsLast),
          .bias = weights.TakeMatrix(absl::StrCat(name, ".bias"), {outputs})};
}

at::Tensor Convolution::operator()(const at::Tensor& x) const {
  return at::conv2d(x, weight, bias, /*stride=*/1,
                    /*padding=*/weight.size(2) / 2);
}

at::Tensor Convolution::Deferred(const at::Tensor& x) const {
  if (weight.is_cpu()) return (*this)(x);
  return at::conv2d(x, weight, /*bias=*/{}, /*stride=*/1,
                    /*padding=*/weight.size(2) / 2);
}

at::Tensor Convolution::deferred_bias() const {
  return weight.is_cpu() ? at::Tensor() : bias.to(at::kFloat);
}

at::Tensor Convolution::DeferredBand(const at::Tensor& rows_with_halo,
                                     RowBand band, std::int64_t height) const {
  const RowBand read = band.WithHalo(height);
  HEATKV_CHECK_EQ(rows_with_halo.size(2), read.rows());
  // What padding does to the halo's own rows is dropped with them.
  return Deferred(rows_with_halo)
      .narrow(2, band.first - read.first, band.rows());
}

void Convolution::DeferInto(const at::Tensor& rows, at::Tensor out) const {
  HEATKV_CHECK_EQ(weight.size(2), 1);
  const at::Tensor x = Pixels(rows.contiguous(kChannelsLast));
  const at::Tensor matrix = weight.flatten(1).t();
  at::Tensor pixels = Pixels(out);
  if (weight.is_cpu()) {
    at::addmm_out(pixels, bias, x, matrix);
  } else {
    at::mm_out(pixels, x, matrix);
  }
}

void AddTo(at::Tensor& x, const at::Tensor& bias, const at::Tensor& added) {
#if HEATKV_CUDA
  if (x.is_cuda()) {
    CudaAddBias(x, bias, added);
    return;
  }
#endif
  HEATKV_CHECK(!bias.defined());
  x.add_(added);
}

DoublingConvolution DoublingConvolution::Take(WeightStore& weights,
                                              const std::string& prefix,
                                              int channels, bool in_parts) {
  const std::string name = UnwrappedName(weights, prefix, "conv");
  const std::string weight_name = absl::StrCat(name, ".weight");
  const Shape shape = {channels, channels, 3, 3};
  DoublingConvolution doubling;
  doubling.bias_ = weights.TakeMatrix(absl::StrCat(name, ".bias"), {channels});
  if (!in_parts) {
    doubling.weight_ =
        weights.TakeMatrix(weight_name, shape).contiguous(kChannelsLast);
    return doubling;
  }
  doubling.wide_bias_ = doubling.bias_.to(at::kFloat);
  // Summed up before they are rounded.
  const at::Tensor weight = weights.Take(weight_name, shape);
  for (const int row : {0, 1}) {
    for (const int column : {0, 1}) {
      doubling.parts_[row][column] = Merge(Merge(weight, 2, row), 3, column)
                                         .to(doubling.bias_.scalar_type())
                                         .contiguous(kChannelsLast);
    }
  }
  return doubling;
}

at::Tensor DoublingConvolution::operator()(const at::Tensor& x) const {
  return Band(x, {0, 2 * x.size(2)});
}

RowBand DoublingConvolution::Sources(RowBand band, std::int64_t height) {
  return Undoubled(band).WithHalo(height);
}

at::Tensor DoublingConvolution::Band(const at::Tensor& x, RowBand band) const {
  // Rows of x whose doubles are wanted, and those that these see.
  const RowBand own = Undoubled(band);
  const RowBand read = Sources(band, x.size(2));
  const at::Tensor rows = x.narrow(2, read.first, read.rows());
  if (!weight_.defined()) {
    return InParts(rows, {own.first - read.first, own.last - read.first})
        .narrow(2, band.first - 2 * own.first, band.rows());
  }
  return at::conv2d(
             at::upsample_nearest2d(rows, {2 * rows.size(2), 2 * rows.size(3)}),
             weight_, bias_, /*stride=*/1, /*padding=*/1)
      .narrow(2, band.first - 2 * read.first, band.rows());
}

at::Tensor DoublingConvolution::InParts(const at::Tensor& rows,
                                        RowBand own) const {
  const std::int64_t width = rows.size(3);
  at::Tensor out = at::empty({1, channels(), 2 * own.rows(), 2 * width},
                             rows.options(), kChannelsLast);
  for (const int row : {0, 1}) {
    for (const int column : {0, 1}) {
      // Its [i, j] sees the pixels before and at (i, j).
      const at::Tensor part =
          at::conv2d(rows, parts_[row][column], /*bias=*/{}, /*stride=*/1,
                     /*padding=*/1)
              .narrow(2, own.first, own.rows() + 1);
#if HEATKV_CUDA
      if (rows.is_cuda()) {
        CudaInterleave(part, wide_bias_, row, column, out);
        continue;
      }
#endif
      at::Tensor places =
          out.slice(2, row, std::nullopt, 2).slice(3, column, std::nullopt, 2);
      at::add_out(places,
                  part.narrow(2, row, own.rows()).narrow(3, column, width),
                  bias_.view({1, -1, 1, 1}));
    }
  }
  return out;
}

}  // namespace heatkv::model
