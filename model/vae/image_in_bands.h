// Images that are made band by band because they would be too large whole.
//
// An image is used by one thread; it borrows what it is made with.

#ifndef MODEL_VAE_IMAGE_IN_BANDS_H_
#define MODEL_VAE_IMAGE_IN_BANDS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <vector>

#include "model/vae/convolution.h"
#include "model/vae/row_bands.h"

namespace heatkv::model {

class ImageInBands {
 public:
  virtual ~ImageInBands() = default;

  virtual std::int64_t height() const = 0;
  virtual std::int64_t width() const = 0;

  // [1, channels, rows, width], nobody else's.
  virtual at::Tensor Make(RowBand band) = 0;

  // From now on nothing is made but `bands`, each once and in this order, so
  // that what earlier ones were made of may go.  Called once at most.
  virtual void MakeOnlyOnce(const std::vector<RowBand>& bands) = 0;
};

// The doubling of a coarse image.  MakeOnlyOnce takes that apart into the rows
// that each band is made of, which go with their band; until then there is a
// copy of it, and rows that two bands are made of are there twice.
class DoubledImage : public ImageInBands {
 public:
  DoubledImage(const DoublingConvolution* doubling, at::Tensor coarse);

  std::int64_t height() const override { return 2 * coarse_height_; }
  std::int64_t width() const override { return 2 * coarse_width_; }
  at::Tensor Make(RowBand band) override;
  void MakeOnlyOnce(const std::vector<RowBand>& bands) override;

 private:
  struct Piece {
    RowBand band;     // that is made of it
    RowBand of;       // of the coarse image
    at::Tensor rows;  // these
  };

  const DoublingConvolution* doubling_;
  std::int64_t coarse_height_;
  std::int64_t coarse_width_;
  at::Tensor coarse_;  // or, once it is taken apart, undefined
  std::deque<Piece> pieces_;
};

}  // namespace heatkv::model

#endif  // MODEL_VAE_IMAGE_IN_BANDS_H_
