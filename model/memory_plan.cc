#include "model/memory_plan.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>

#include "base/check.h"
#include "model/text/token_buckets.h"
#include "model/vae/row_bands.h"

namespace heatkv::model {
namespace {

using std::int64_t;

constexpr int64_t kFloat = 4;
constexpr int64_t kBfloat16 = 2;

// Images with guidance have two rows a slot.
constexpr int64_t kBranches = 2;

// Rows of a group at most: 16 images with guidance (GroupCapacity, Recorder).
constexpr int64_t kStepRows = 32;

// Of a recorded step, which launches some two dozen kernels a layer; what the
// driver takes for one of them is an assumption.
constexpr int64_t kKernelsALayer = 24;
constexpr int64_t kRecordedKernel = 1024;

// A convolution and a norm are up to three each, and a doubling is no more.
constexpr int64_t kKernelsAResidualBlock = 16;

// cuBLAS, cuDNN and the kernels' code, beyond the context; what the allocator
// cannot use of what it has.  Measured with room to spare.
constexpr int64_t kLibraries = int64_t{512} << 20;

int64_t MatrixBytes(bool is_on_gpu) { return is_on_gpu ? kBfloat16 : kFloat; }

// The largest step of a ladder.
struct StepSize {
  int64_t rows = 0;    // tokens of all branches of all slots
  int64_t staged = 0;  // keys of all heads of all rows of a layer
};

// Over the scales of all ladders, of those with at most `most_rows` rows.
StepSize LargestStep(const ModelSpec& spec, bool is_on_gpu, int64_t most_rows) {
  StepSize largest;
  for (int l = 0; l < static_cast<int>(spec.ladders.size()); ++l) {
    const cache::ScaleLadder& ladder = spec.ladders[l].ladder;
    int64_t tokens_so_far = 0;
    for (int s = 0; s < ladder.num_scales(); ++s) {
      tokens_so_far += ladder.tokens(s);
      // On the CPU one image after the other.
      const int64_t slots =
          is_on_gpu ? GroupCapacity(spec, l, s, kBranches) : 1;
      const int64_t rows = slots * kBranches * ladder.tokens(s);
      if (rows > most_rows) continue;
      largest.rows = std::max(largest.rows, rows);
      largest.staged =
          std::max(largest.staged,
                   slots * kBranches * spec.transformer.heads * tokens_so_far);
    }
  }
  return largest;
}

// Keys and values of one layer.
int64_t StagingBytes(const TransformerSpec& spec, const StepSize& step,
                     bool is_on_gpu) {
  return step.staged * 2 * spec.head_width() * MatrixBytes(is_on_gpu);
}

int64_t ActivationBytes(const TransformerSpec& spec, const StepSize& step,
                        bool is_on_gpu) {
  const int64_t width = spec.width;
  const int64_t matrix = MatrixBytes(is_on_gpu);
  // The residual stream, and the input that it began as.
  int64_t row = 2 * width * kFloat;
  // A norm, queries, keys and values as they leave the product and as attention
  // reads and writes them; or the hidden layer between two norms.
  row +=
      matrix * (8 * width + std::max<int64_t>(2 * spec.mlp_width, 4 * width));
  row += 2 * spec.bits_per_token() * kFloat;
  return step.rows * row;
}

// What all recorded steps of all ladders have for themselves: their kernels and
// their logits.  Ladders that begin alike share steps.
int64_t RecordingBytes(const ModelSpec& spec) {
  std::set<std::array<int64_t, 7>> steps;
  int64_t bytes = 0;
  for (int l = 0; l < static_cast<int>(spec.ladders.size()); ++l) {
    const LadderSpec& ladder = spec.ladders[l];
    int64_t tokens_so_far = 0;
    for (int s = 0; s < ladder.ladder.num_scales(); ++s) {
      const cache::Grid& grid = ladder.ladder.grid(s);
      tokens_so_far += grid.tokens();
      for (const int branches : {1, 2}) {
        const int64_t rows = int64_t{GroupCapacity(spec, l, s, branches)} *
                             branches * grid.tokens();
        if (rows > kRecordedRows ||
            !steps
                 .insert({grid.height, grid.width, ladder.rope_grid.height,
                          ladder.rope_grid.width, s, tokens_so_far, branches})
                 .second) {
          continue;
        }
        const int64_t kernels =
            spec.transformer.depth * kKernelsALayer * kRecordedKernel;
        const int64_t logits =
            rows * 2 * spec.transformer.bits_per_token() * kFloat;
        bytes += kernels + logits;
        // Of an image alone, too, on a GPU that has products of few rows; its
        // head's product has the group's shape.
        const int64_t own_rows = branches * grid.tokens();
        if (own_rows <= kFewRows && own_rows < rows) bytes += kernels + logits;
      }
    }
  }
  return bytes;
}

// Of the VAE, in a scale.
cache::Grid CellsOf(const ModelSpec& spec, const LadderSpec& ladder,
                    int scale) {
  cache::Grid cells = ladder.ladder.grid(scale);
  if (spec.transformer.patchify) {
    cells.height *= 2;
    cells.width *= 2;
  }
  return cells;
}

cache::Grid ImageCells(const ModelSpec& spec, const LadderSpec& ladder) {
  return CellsOf(spec, ladder, ladder.ladder.num_scales() - 1);
}

int64_t LargestImageCells(const ModelSpec& spec) {
  int64_t cells = 0;
  for (const LadderSpec& ladder : spec.ladders) {
    cells = std::max<int64_t>(cells, ImageCells(spec, ladder).tokens());
  }
  return cells;
}

int64_t LargestDecodingBytes(const ModelSpec& spec, int tile, bool is_on_gpu) {
  int64_t bytes = 0;
  for (const LadderSpec& ladder : spec.ladders) {
    bytes = std::max(bytes, DecodingBytes(spec.vae, ImageCells(spec, ladder),
                                          tile, is_on_gpu));
  }
  return bytes;
}

// A code canvas, the scale before it and its input.
int64_t CanvasBytes(const ModelSpec& spec) {
  return 3 * LargestImageCells(spec) * spec.transformer.bits * kFloat;
}

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
  // that a convolution makes, which may have a work space of that size.
  const int64_t same = image + size.Hidden(level) + 2 * band;
  if (level.inputs == level.outputs) {
    return std::max(DoublingValues(level, is_on_gpu), same);
  }
  return std::max(ValuesChangingInBands(level, most_pixels, is_on_gpu), same);
}

// What recorded decodings of all sizes take (cuda/recorded_decoder.h), which
// may lie in `shared` bytes of recorded steps.
int64_t RecordedDecodingBytes(const ModelSpec& spec, int tile, int64_t shared) {
  const VaeSpec& vae = spec.vae;
  const int64_t most_pixels =
      tile == 0 ? kRecordedDecodingPixels
                : std::min(kRecordedDecodingPixels, int64_t{tile} * tile);
  std::set<std::pair<int, int>> recorded;
  int64_t most = 0;
  int64_t kernels = 0;
  for (const LadderSpec& ladder : spec.ladders) {
    for (int s = 0; s < ladder.ladder.num_scales(); ++s) {
      const cache::Grid cells = CellsOf(spec, ladder, s);
      if (!recorded.insert({cells.height, cells.width}).second) continue;
      if (cells.tokens() <= most_pixels) kernels += 2 * kKernelsAResidualBlock;
      for (const LevelSize& level : LevelSizes(vae, cells)) {
        if (level.pixels > most_pixels) break;
        most = std::max(most, ValuesWhole(level, /*is_on_gpu=*/true));
        kernels += (vae.residual_blocks + 1) * kKernelsAResidualBlock;
      }
    }
  }
  // Places for codes double in size.
  const int64_t codes =
      4 * kFloat * LargestImageCells(spec) * spec.transformer.bits;
  return std::max<int64_t>(most * vae.base_channels * kBfloat16 - shared, 0) +
         kernels * kRecordedKernel + codes;
}

// Pooled text and its modulations.
int64_t CondensedBytes(const TransformerSpec& spec) {
  const int64_t w = spec.width;
  return kFloat * (w + 6 * w + 2 * w);
}

// At places that stay (cuda/placed_modulations.h), for the largest group; keys
// and values of texts are read where they are.
int64_t StepModulationBytes(const TransformerSpec& spec) {
  return kStepRows * kFloat * (6 + 2) * spec.width;
}

// Recorded texts (cuda/recorded_texts.h): the position bias and what a graph
// makes of it, the rest of the largest graph, and what every graph leaves.
int64_t RecordedTextBytes(const ModelSpec& spec) {
  const TextEncoderSpec& text = spec.text_encoder;
  const int64_t rows = TokenBucket(spec.tokenizer.max_length);
  const int64_t inner = int64_t{text.heads} * text.head_width;
  const int64_t bias = kBfloat16 * text.heads * rows * rows;
  // Two images of the residual stream and its norm, or of what is made of the
  // features; then attention, or the layer between two norms.
  int64_t row = kFloat * (3 * int64_t{text.width} + 3 * spec.transformer.width);
  row += kBfloat16 * (2 * int64_t{text.width} +
                      std::max<int64_t>(5 * inner, 4 * text.mlp_width));
  int64_t outputs = 0;
  for (const int bucket : TokenBuckets(spec.tokenizer.max_length)) {
    outputs += kFloat * bucket * spec.transformer.width +
               CondensedBytes(spec.transformer);
  }
  // Once where a text is tried and once where it is recorded.
  return bias + 2 * (bias + rows * row) + outputs;
}

}  // namespace

int64_t TransformerBytes(const TransformerSpec& spec, bool is_on_gpu) {
  const int64_t w = spec.width;
  const int64_t text = spec.text_width;
  const int64_t bits = spec.bits_per_token();
  const int64_t m = spec.mlp_width;
  // What stays float32: the text's side, the ends of the network, the norms.
  int64_t plain = text;                             // text_norm
  plain += w + 2 * w * text + 2 * w + w * w + w;    // text_proj_for_sos
  plain += w * text + w + w * w + w;                // text_proj_for_ca
  plain += spec.text_max_length * text;             // cfg_uncond
  plain += w + int64_t{spec.level_embeddings} * w;  // pos_start, lvl_embed
  plain += w * bits + w;                            // word_embed
  plain += 8 * (w * w + w);                         // shared_ada_lin, head_nm
  plain += 2 * bits * (w + 1);                      // head
  plain += spec.depth * (6 * w + 2 * w + spec.heads);
  // A block's products, with biases as they are used.
  const int64_t self = 3 * w * (w + 1) + w * (w + 1);
  const int64_t cross = w * (w + 1) + 2 * w * (w + 1) + w * (w + 1);
  const int64_t feed_forward = m * (w + 1) + w * (m + 1);
  const int64_t matrices = spec.depth * (self + cross + feed_forward);
  // Every layer's keys and values of the unconditional text.
  const int64_t unconditional =
      int64_t{spec.depth} * 2 * spec.text_max_length * w;
  return kFloat * plain + MatrixBytes(is_on_gpu) * (matrices + unconditional);
}

int64_t TextEncoderBytes(const TextEncoderSpec& spec, int bytes) {
  const int64_t inner = int64_t{spec.heads} * spec.head_width;
  const int64_t matrices =
      int64_t{spec.vocabulary} * spec.width +
      spec.layers *
          (4 * inner * spec.width + 3 * int64_t{spec.mlp_width} * spec.width);
  const int64_t plain = int64_t{spec.relative_buckets} * spec.heads +
                        (2 * spec.layers + 1) * int64_t{spec.width};
  return bytes * matrices + kFloat * plain;
}

int64_t VaeBytes(const VaeSpec& spec, int bits, bool is_on_gpu) {
  int64_t matrices = 0;
  int64_t plain = 0;
  const auto convolution = [&](int64_t outputs, int64_t inputs, int64_t side) {
    matrices += outputs * inputs * side * side + outputs;
  };
  const auto residual = [&](int64_t outputs, int64_t inputs) {
    plain += 2 * inputs + 2 * outputs;
    if (is_on_gpu) plain += 2 * outputs;  // biases that kernels add
    convolution(outputs, inputs, 3);
    convolution(outputs, outputs, 3);
    if (inputs != outputs) convolution(outputs, inputs, 1);
  };
  const int levels = static_cast<int>(spec.channel_multipliers.size());
  int64_t channels =
      int64_t{spec.base_channels} * spec.channel_multipliers.back();
  convolution(channels, bits, 3);
  residual(channels, channels);
  residual(channels, channels);
  for (int level = levels - 1; level >= 0; --level) {
    const int64_t outputs =
        int64_t{spec.base_channels} * spec.channel_multipliers[level];
    for (int block = 0; block < spec.residual_blocks; ++block) {
      residual(outputs, channels);
      channels = outputs;
    }
    // In parts on a GPU, with sixteen weights for nine.
    if (level > 0) convolution(channels, channels, is_on_gpu ? 4 : 3);
  }
  plain += 2 * channels;
  convolution(3, channels, 3);
  return MatrixBytes(is_on_gpu) * matrices + kFloat * plain;
}

int64_t TextBytes(const TransformerSpec& spec, int64_t tokens, bool is_on_gpu) {
  const int64_t w = spec.width;
  // Then keys and values of every layer.
  return CondensedBytes(spec) +
         MatrixBytes(is_on_gpu) * spec.depth * 2 * tokens * w;
}

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
  const int64_t scale = spec.base_channels * MatrixBytes(is_on_gpu);
  const LevelSize& finest = levels.back();
  const int64_t picture = finest.pixels * 3 * (kFloat + kFloat + kFloat + 1);
  return std::max(most * scale,
                  2 * finest.pixels * finest.outputs * scale + picture);
}

std::vector<MemoryAccount> PlanMemory(const ModelSpec& spec,
                                      const MemoryDemand& demand) {
  HEATKV_CHECK(!spec.ladders.empty());
  const bool gpu = demand.is_on_gpu;
  const TransformerSpec& transformer = spec.transformer;
  const StepSize step =
      LargestStep(spec, gpu, std::numeric_limits<int64_t>::max());
  const int64_t longest_text =
      TextBytes(transformer, transformer.text_max_length, gpu);
  MemoryAccount device;
  device.device = demand.device;
  const auto add = [&](const char* name, int64_t bytes,
                       bool is_loaded = false) {
    device.parts.push_back({name, bytes, is_loaded});
  };
  add("transformer", TransformerBytes(transformer, gpu), true);
  if (demand.text_encoder_on_device) {
    add("text encoder",
        TextEncoderBytes(spec.text_encoder, static_cast<int>(MatrixBytes(gpu))),
        true);
  }
  add("VAE", VaeBytes(spec.vae, transformer.bits, gpu), true);
  add("block pool", demand.pool_bytes);
  add("remembered prompts", std::min(demand.remembered_bytes,
                                     demand.remembered_texts * longest_text));
  add("images in flight",
      demand.running_images * (CanvasBytes(spec) + longest_text));
  // One for every number of tokens; their keys and values are the
  // transformer's.
  add("unconditional texts",
      spec.tokenizer.max_length * CondensedBytes(transformer));
  add("staging", StagingBytes(transformer, step, gpu));
  // A step, a decoding and a text's large product never run at once.
  add("activations",
      std::max({ActivationBytes(transformer, step, gpu),
                LargestDecodingBytes(spec, demand.vae_tile, gpu),
                TextBytes(transformer, TokenBucket(spec.tokenizer.max_length),
                          gpu)}));
  if (gpu) {
    const StepSize recorded = LargestStep(spec, gpu, kRecordedRows);
    const int64_t of_step = StagingBytes(transformer, recorded, gpu) +
                            ActivationBytes(transformer, recorded, gpu);
    // Once where it is recorded, and once where it is tried before.
    add("recorded steps",
        (demand.records_all_at_start ? 1 : 2) * of_step + RecordingBytes(spec));
    add("recorded decodings",
        RecordedDecodingBytes(spec, demand.vae_tile, of_step));
    add("modulations of a step", StepModulationBytes(transformer));
    if (demand.text_encoder_on_device) {
      add("recorded texts", RecordedTextBytes(spec));
    }
    add("libraries", kLibraries);
  }
  std::vector<MemoryAccount> accounts = {std::move(device)};
  if (!demand.text_encoder_on_device) {
    MemoryAccount& host = accounts.emplace_back();
    host.device = "cpu";
    host.parts = {{.name = "text encoder",
                   .bytes = TextEncoderBytes(spec.text_encoder,
                                             demand.host_text_bytes_per_value),
                   .is_loaded = true}};
  }
  return accounts;
}

}  // namespace heatkv::model
