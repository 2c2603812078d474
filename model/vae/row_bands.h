// An image's rows in bands, for work that would take too much memory at once.
//
// Pure functions.  Thread safety: stateless.

#ifndef MODEL_VAE_ROW_BANDS_H_
#define MODEL_VAE_ROW_BANDS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

namespace heatkv::model {

struct RowBand {
  std::int64_t first = 0;
  std::int64_t last = 0;  // behind the band

  std::int64_t rows() const { return last - first; }
  // With the neighbours that a 3x3 convolution reads, in an image of `height`.
  RowBand WithHalo(std::int64_t height) const {
    return {std::max<std::int64_t>(first - 1, 0), std::min(last + 1, height)};
  }
  friend bool operator==(const RowBand&, const RowBand&) = default;
};

// As few bands as have at most `most_pixels` each, or one row; all but the last
// have equally many rows.
inline std::vector<RowBand> RowBands(std::int64_t height, std::int64_t width,
                                     std::int64_t most_pixels) {
  const std::int64_t most_rows = std::max<std::int64_t>(most_pixels / width, 1);
  const std::int64_t count = (height + most_rows - 1) / most_rows;
  const std::int64_t rows = (height + count - 1) / count;
  std::vector<RowBand> bands;
  for (std::int64_t first = 0; first < height; first += rows) {
    bands.push_back({first, std::min(first + rows, height)});
  }
  return bands;
}

}  // namespace heatkv::model

#endif  // MODEL_VAE_ROW_BANDS_H_
