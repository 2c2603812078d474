#include "model/vae/residual_block.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace heatkv::model {
namespace {

at::Tensor RowsOf(const at::Tensor& image, RowBand band) {
  return image.narrow(2, band.first, band.rows());
}

// Puts into each band's halo what its neighbours have there, instead of what a
// convolution at the edge of a band made of it.
void FillHalos(const std::vector<at::Tensor>& bands) {
  for (std::size_t i = 1; i < bands.size(); ++i) {
    const at::Tensor& above = bands[i - 1];
    const at::Tensor& below = bands[i];
    const std::int64_t end = above.size(2);
    RowsOf(above, {end - 1, end}).copy_(RowsOf(below, {1, 2}));
    RowsOf(below, {0, 1}).copy_(RowsOf(above, {end - 2, end - 1}));
  }
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
  block.hidden_bias_ = block.conv1_.deferred_bias();
  block.result_bias_ = block.conv2_.deferred_bias();
  if (block.result_bias_.defined() && inputs != outputs) {
    block.result_bias_ = block.result_bias_ + block.shortcut_->deferred_bias();
  }
  return block;
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
  result = norm2_.Consume(std::move(result), hidden_bias_);
  result = conv2_.Deferred(result);
  model::AddTo(result, result_bias_, kept);
  return result;
}

at::Tensor ResidualBlock::InBands(at::Tensor x,
                                  std::int64_t most_pixels) const {
  HEATKV_CHECK(!changes_channels());
  const std::int64_t height = x.size(2);
  const std::vector<RowBand> bands = RowBands(height, x.size(3), most_pixels);
  GroupSums sums;
  sums.Add(x, /*input_bias=*/{});
  std::vector<at::Tensor> hidden =
      Hidden([&x](RowBand band) { return RowsOf(x, band); }, height,
             sums.Statistics(), /*may_write=*/false, bands);
  AddHidden(std::move(hidden), bands, x);
  return x;
}

at::Tensor ResidualBlock::InBands(ImageInBands& x,
                                  std::int64_t most_pixels) const {
  HEATKV_CHECK(changes_channels());
  const std::int64_t outputs = shortcut_->weight.size(0);
  const std::int64_t inputs = shortcut_->weight.size(1);
  at::Tensor image =
      at::empty({1, outputs, x.height(), x.width()},
                shortcut_->weight.options(), at::MemoryFormat::ChannelsLast);
  GroupSums sums;
  for (const RowBand band : RowBands(x.height(), x.width(), most_pixels)) {
    const at::Tensor rows = x.Make(band);
    sums.Add(rows, /*input_bias=*/{});
    shortcut_->DeferInto(rows, RowsOf(image, band));
  }
  // Two images are there in the end, so a band of the input may take no more
  // than one of the outputs does elsewhere.
  const std::vector<RowBand> bands =
      RowBands(x.height(), x.width(),
               std::min(most_pixels, most_pixels * outputs / inputs));
  std::vector<RowBand> reads;
  for (const RowBand band : bands) reads.push_back(band.WithHalo(x.height()));
  x.MakeOnlyOnce(reads);
  AddHidden(Hidden([&x](RowBand band) { return x.Make(band); }, x.height(),
                   sums.Statistics(), /*may_write=*/true, bands),
            bands, image);
  return image;
}

void ResidualBlock::AddHidden(std::vector<at::Tensor> hidden,
                              const std::vector<RowBand>& bands,
                              at::Tensor& image) const {
  for (std::size_t i = 0; i < bands.size(); ++i) {
    at::Tensor result = RowsOf(image, bands[i]);
    model::AddTo(result, result_bias_,
                 conv2_.DeferredBand(hidden[i], bands[i], image.size(2)));
    hidden[i].reset();
  }
}

std::vector<at::Tensor> ResidualBlock::Hidden(
    const Rows& x, std::int64_t height, const at::Tensor& statistics,
    bool may_write, const std::vector<RowBand>& bands) const {
  GroupSums sums;
  std::vector<at::Tensor> hidden;
  for (const RowBand band : bands) {
    const RowBand read = band.WithHalo(height);
    const at::Tensor normed =
        norm1_.Rows(x(read), /*input_bias=*/{}, statistics, may_write);
    hidden.push_back(conv1_.Deferred(normed));
    sums.Add(RowsOf(hidden.back(),
                    {band.first - read.first, band.last - read.first}),
             hidden_bias_);
  }
  FillHalos(hidden);
  const at::Tensor hidden_statistics = sums.Statistics();
  for (const at::Tensor& rows : hidden) {
    norm2_.Rows(rows, hidden_bias_, hidden_statistics, /*may_write=*/true);
  }
  return hidden;
}

}  // namespace heatkv::model
