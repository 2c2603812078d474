#include "model/vae/decoding_bytes.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "model/vae/row_bands.h"

namespace heatkv::model {
namespace {

using std::int64_t;

constexpr int64_t kFloat = 4;
constexpr int64_t kBfloat16 = 2;

// Of the VAE.  Channels are multiples of base_channels, and so are the numbers
// of values that follow from them.
struct LevelSize {
  int64_t pixels = 0;
  int64_t width = 0;
  int64_t inputs = 0;
  int64_t outputs = 0;
  int64_t coarse = 0;  // values of the coarser level; 0: there is none
};

// Coarsest first.
std::vector<LevelSize> LevelSizes(const VaeSpec& spec,
                                  const cache::Grid& cells) {
  std::vector<LevelSize> sizes;
  LevelSize size = {.pixels = cells.tokens(),
                    .width = cells.width,
                    .inputs = spec.channel_multipliers.back()};
  for (int level = static_cast<int>(spec.channel_multipliers.size()) - 1;
       level >= 0; --level) {
    size.outputs = spec.channel_multipliers[level];
    sizes.push_back(size);
    size.coarse = size.pixels * size.outputs;
    size.pixels *= 4;
    size.width *= 2;
    size.inputs = size.outputs;
  }
  return sizes;
}

int64_t DoublingValues(const LevelSize& level, bool is_on_gpu) {
  if (level.coarse == 0) return 0;
  // The doubled image with a quarter of it, or with what the convolution makes
  // of it.
  return level.coarse + level.pixels * level.inputs * (is_on_gpu ? 5 : 8) / 4;
}

int64_t ValuesWhole(const LevelSize& level, bool is_on_gpu) {
  // A residual block holds its input and two images of its outputs, or three of
  // the latter; the CPU overwrites none.
  const int64_t of_block =
      is_on_gpu ? std::max(level.inputs + 2 * level.outputs, 3 * level.outputs)
                : 2 * level.inputs + 3 * level.outputs;
  return std::max(DoublingValues(level, is_on_gpu), level.pixels * of_block);
}

// Of a level's rows in bands of `most_pixels`, with their halos.
struct BandSize {
  BandSize(const LevelSize& level, int64_t most_pixels)
      : height(level.pixels / level.width),
        bands(RowBands(height, level.width, most_pixels)),
        rows(bands.front().rows()),
        with_halo(std::min(rows + 2, height)) {}
  // What the first convolution makes, with all halos; and sums of it
  // (cuda/image_calls.cc).
  int64_t Hidden(const LevelSize& level) const {
    const int64_t halos = 2 * (static_cast<int64_t>(bands.size()) - 1);
    return (height + halos) * level.width * level.outputs +
           level.pixels * level.outputs / 64;
  }

  int64_t height;
  std::vector<RowBand> bands;
  int64_t rows;  // of the first, which is the largest
  int64_t with_halo;
};

// The block that changes channels, which makes its input of the coarser level
// (vae/image_in_bands.h) or, at the coarsest one, has it.
int64_t ValuesChangingInBands(const LevelSize& level, int64_t most_pixels,
                              bool is_on_gpu) {
  const int64_t shortcut = level.pixels * level.outputs;
  // So many rows of whole doubles, with what these see, and on a GPU a quarter
  // of them, or else the doubled rows.
  const auto made = [&](int64_t rows) {
    const int64_t values = (rows + 8) * level.width * level.inputs;
    return values + (is_on_gpu ? values / 4 : values);
  };
  const int64_t first = level.coarse + shortcut +
                        made(BandSize(level, most_pixels).rows) +
                        level.pixels * level.inputs / 64;
  const BandSize size(
      level, std::min(most_pixels, most_pixels * level.outputs / level.inputs));
  const auto count = static_cast<int64_t>(size.bands.size());
  // Of the coarser level, for one band: four more rows than are doubled.
  const int64_t piece = (size.rows / 2 + 4) * level.width / 2 * level.inputs;
  const int64_t split = shortcut + level.coarse + count * piece;
  // Pieces go and the first convolution's bands come, at the same pace.
  const int64_t begin = shortcut + count * piece + made(size.rows);
  const int64_t end = shortcut + size.Hidden(level) + piece + made(size.rows);
  return std::max({first, split, begin, end});
}

// In bands of `most_pixels` (vae/residual_block.h).
int64_t ValuesInBands(const LevelSize& level, int64_t most_pixels,
                      bool is_on_gpu) {
  const BandSize size(level, most_pixels);
  const int64_t image = level.pixels * level.outputs;
  const int64_t band = size.with_halo * level.width * level.outputs;
  // Beside what the first convolution makes the input or result, and a band
  // that a convolution makes, on the CPU with a work space of that size.
  const int64_t same = image + size.Hidden(level) + (is_on_gpu ? 1 : 2) * band;
  if (level.inputs == level.outputs) {
    return std::max(DoublingValues(level, is_on_gpu), same);
  }
  return std::max(ValuesChangingInBands(level, most_pixels, is_on_gpu), same);
}

}  // namespace

int64_t DecodingBytes(const VaeSpec& spec, const cache::Grid& cells, int tile,
                      bool is_on_gpu) {
  const int64_t most_pixels = int64_t{tile} * tile;
  int64_t most = 0;
  const std::vector<LevelSize> levels = LevelSizes(spec, cells);
  for (const LevelSize& size : levels) {
    const bool is_in_bands = tile > 0 && size.pixels > most_pixels;
    most =
        std::max(most, is_in_bands ? ValuesInBands(size, most_pixels, is_on_gpu)
                                   : ValuesWhole(size, is_on_gpu));
  }
  const int64_t scale = spec.base_channels * (is_on_gpu ? kBfloat16 : kFloat);
  const LevelSize& finest = levels.back();
  const int64_t picture = finest.pixels * 3 * (kFloat + kFloat + kFloat + 1);
  return std::max(most * scale,
                  2 * finest.pixels * finest.outputs * scale + picture);
}

}  // namespace heatkv::model
