#include "model/vae/image_in_bands.h"

#include <ATen/ATen.h>

#include <utility>

#include "base/check.h"

namespace heatkv::model {

DoubledImage::DoubledImage(const DoublingConvolution* doubling,
                           at::Tensor coarse)
    : doubling_(doubling),
      coarse_height_(coarse.size(2)),
      coarse_width_(coarse.size(3)),
      coarse_(std::move(coarse)) {}

at::Tensor DoubledImage::Make(RowBand band) {
  if (coarse_.defined()) return doubling_->Band(coarse_, band);
  HEATKV_CHECK(!pieces_.empty() && pieces_.front().band == band)
      << "rows " << band.first << " to " << band.last << " come too late";
  const Piece piece = std::move(pieces_.front());
  pieces_.pop_front();
  const std::int64_t above = 2 * piece.of.first;
  return doubling_->Band(piece.rows, {band.first - above, band.last - above});
}

void DoubledImage::MakeOnlyOnce(const std::vector<RowBand>& bands) {
  HEATKV_CHECK(coarse_.defined());
  for (const RowBand band : bands) {
    const RowBand of = DoublingConvolution::Sources(band, coarse_height_);
    pieces_.push_back({.band = band,
                       .of = of,
                       .rows = coarse_.narrow(2, of.first, of.rows())
                                   .clone(at::MemoryFormat::ChannelsLast)});
  }
  coarse_.reset();
}

}  // namespace heatkv::model
