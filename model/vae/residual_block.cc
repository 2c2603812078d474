#include "model/vae/residual_block.h"

#include <ATen/ATen.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace heatkv::model {
namespace {

at::Tensor RowsOf(const at::Tensor& image, RowBand band) {
  return image.narrow(2, band.first, band.rows());
}

at::Tensor NewImage(std::int64_t channels, std::int64_t height,
                    std::int64_t width, const at::TensorOptions& options) {
  return at::empty({1, channels, height, width}, options,
                   at::MemoryFormat::ChannelsLast);
}

}  // namespace

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

at::Tensor ResidualBlock::deferred_bias() const {
  const at::Tensor bias = conv2_.deferred_bias();
  if (!bias.defined() || !shortcut_.has_value()) return bias;
  return bias + shortcut_->deferred_bias();
}

// Biases are added where the next kernel reads anyway, and images that nobody
// needs again are overwritten.
at::Tensor ResidualBlock::operator()(at::Tensor x) const {
  at::Tensor kept = x;
  at::Tensor normed;
  if (shortcut_.has_value()) {
    kept = shortcut_->Deferred(x);
    normed = norm1_.Consume(std::move(x), {});
  } else {
    normed = norm1_(x);
  }
  at::Tensor result = conv1_.Deferred(normed);
  normed.reset();
  result = norm2_.Consume(std::move(result), conv1_.deferred_bias());
  result = conv2_.Deferred(result);
  model::AddTo(result, deferred_bias(), kept);
  return result;
}

at::Tensor ResidualBlock::InBands(at::Tensor x,
                                  std::int64_t most_pixels) const {
  GroupSums sums;
  sums.Add(x);
  const at::Tensor kept = shortcut_.has_value() ? shortcut_->Deferred(x) : x;
  return AddTo(
      kept, [x = std::move(x)](RowBand band) { return RowsOf(x, band); },
      sums.Statistics(), /*may_write=*/false, most_pixels);
}

at::Tensor ResidualBlock::InBands(ImageInBands x,
                                  std::int64_t most_pixels) const {
  HEATKV_CHECK(shortcut_.has_value());
  GroupSums sums;
  at::Tensor kept;
  for (const RowBand band : RowBands(x.height, x.width, most_pixels)) {
    const at::Tensor rows = x.make(band);
    sums.Add(rows);
    if (!kept.defined()) {
      kept = NewImage(shortcut_->weight.size(0), x.height, x.width,
                      rows.options());
    }
    RowsOf(kept, band).copy_(shortcut_->Deferred(rows));
  }
  return AddTo(std::move(kept), std::move(x.make), sums.Statistics(),
               /*may_write=*/true, most_pixels);
}

at::Tensor ResidualBlock::AddTo(at::Tensor kept, Rows x,
                                const at::Tensor& statistics, bool may_write,
                                std::int64_t most_pixels) const {
  const std::int64_t height = kept.size(2);
  const std::vector<RowBand> bands =
      RowBands(height, kept.size(3), most_pixels);
  at::Tensor hidden =
      NewImage(kept.size(1), height, kept.size(3), kept.options());
  for (const RowBand band : bands) {
    const at::Tensor normed =
        norm1_.Rows(x(band.WithHalo(height)), statistics, may_write);
    RowsOf(hidden, band).copy_(conv1_.DeferredBand(normed, band, height));
  }
  x = nullptr;
  hidden = norm2_.Consume(std::move(hidden), conv1_.deferred_bias());
  const at::Tensor bias = deferred_bias();
  for (const RowBand band : bands) {
    at::Tensor result = RowsOf(kept, band);
    model::AddTo(result, bias,
                 conv2_.DeferredBand(RowsOf(hidden, band.WithHalo(height)),
                                     band, height));
  }
  return kept;
}

}  // namespace heatkv::model
