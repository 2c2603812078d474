#include "model/memory_plan.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "base/check.h"
#include "model/text/token_buckets.h"
#include "model/vae/decoding_bytes.h"

namespace heatkv::model {
namespace {

using std::int64_t;

constexpr int64_t kFloat = 4;
constexpr int64_t kBfloat16 = 2;

// Images with guidance have two rows a slot.
constexpr int64_t kBranches = 2;

// Rows of a group at most: 16 images with guidance (GroupCapacity, Recorder).
constexpr int64_t kStepRows = 32;

// Of a recorded step on a Hopper GPU, and of a recorded text.
constexpr int64_t kKernelsALayer = 13;
constexpr int64_t kKernelsATextLayer = 16;

// What the driver takes for a recorded kernel: 1.4 MB a step of 32 layers were
// measured.
constexpr int64_t kRecordedKernel = 3584;

// Of an arena of work, for what lies between tensors.
constexpr int64_t kGaps = int64_t{32} << 20;

// Two norms of three, two convolutions, a shortcut and sums; a doubling is no
// more.
constexpr int64_t kKernelsAResidualBlock = 12;

// cuBLAS, cuDNN and the kernels' code, beyond the context; what the allocator
// cannot use of what it has.  Measured with room to spare.
constexpr int64_t kLibraries = int64_t{512} << 20;

int64_t MatrixBytes(bool is_on_gpu) { return is_on_gpu ? kBfloat16 : kFloat; }

// The largest step of a ladder.
struct StepSize {
  int64_t rows = 0;    // tokens of all branches of all slots
  int64_t staged = 0;  // keys of all heads of all rows of a layer
};

// Over the scales of all ladders.
StepSize LargestStep(const ModelSpec& spec, bool is_on_gpu) {
  StepSize largest;
  for (int l = 0; l < static_cast<int>(spec.ladders.size()); ++l) {
    const cache::ScaleLadder& ladder = spec.ladders[l].ladder;
    int64_t tokens_so_far = 0;
    for (int s = 0; s < ladder.num_scales(); ++s) {
      tokens_so_far += ladder.tokens(s);
      // On the CPU one image after the other.
      const int64_t slots =
          is_on_gpu ? GroupCapacity(spec, l, s, kBranches) : 1;
      largest.rows =
          std::max(largest.rows, slots * kBranches * ladder.tokens(s));
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
  int64_t row = 2 * spec.bits_per_token() * kFloat;
  if (is_on_gpu) {
    // The residual stream; queries as attention reads them; queries, keys and
    // values beside what attention makes of them in two orders, or else the
    // layer between two norms beside one of these.  What lies between tensors
    // that come and go was seen to be as much as two of them.
    row += width * kFloat;
    row += kBfloat16 *
           (width + std::max<int64_t>(5 * width, spec.mlp_width + width));
    row += kBfloat16 * 2 * width;
  } else {
    // The residual stream, and the input that it began as.
    row += 2 * width * kFloat;
    // A norm, queries, keys and values as they leave the product and as
    // attention reads and writes them; or the layer between two norms.
    row +=
        kFloat * (8 * width + std::max<int64_t>(2 * spec.mlp_width, 4 * width));
  }
  return step.rows * row;
}

// What the driver takes for all recorded steps of all ladders.  Ladders that
// begin alike share steps.
int64_t RecordedStepBytes(const ModelSpec& spec) {
  std::set<std::array<int64_t, 7>> steps;
  int64_t recordings = 0;
  for (int l = 0; l < static_cast<int>(spec.ladders.size()); ++l) {
    const LadderSpec& ladder = spec.ladders[l];
    int64_t tokens_so_far = 0;
    for (int s = 0; s < ladder.ladder.num_scales(); ++s) {
      const cache::Grid& grid = ladder.ladder.grid(s);
      tokens_so_far += grid.tokens();
      for (const int branches : {1, 2}) {
        if (!steps
                 .insert({grid.height, grid.width, ladder.rope_grid.height,
                          ladder.rope_grid.width, s, tokens_so_far, branches})
                 .second) {
          continue;
        }
        ++recordings;
        // Of an image alone, too, on a GPU that has products of few rows.
        const bool has_own = branches * grid.tokens() <= kFewRows &&
                             GroupCapacity(spec, l, s, branches) > 1;
        if (has_own) ++recordings;
      }
    }
  }
  return recordings * spec.transformer.depth * kKernelsALayer * kRecordedKernel;
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

// What recorded decodings of all sizes take beside the arena
// (cuda/recorded_decoder.h).
int64_t RecordedDecodingBytes(const ModelSpec& spec, int tile) {
  const VaeSpec& vae = spec.vae;
  const int64_t most_pixels =
      tile == 0 ? kRecordedDecodingPixels
                : std::min(kRecordedDecodingPixels, int64_t{tile} * tile);
  std::set<std::pair<int, int>> recorded;
  int64_t kernels = 0;
  for (const LadderSpec& ladder : spec.ladders) {
    for (int s = 0; s < ladder.ladder.num_scales(); ++s) {
      const cache::Grid cells = CellsOf(spec, ladder, s);
      if (!recorded.insert({cells.height, cells.width}).second) continue;
      if (cells.tokens() <= most_pixels) kernels += 2 * kKernelsAResidualBlock;
      int64_t pixels = cells.tokens();
      for (std::size_t level = 0;
           level < vae.channel_multipliers.size() && pixels <= most_pixels;
           ++level) {
        kernels += (vae.residual_blocks + 1) * kKernelsAResidualBlock;
        pixels *= 4;
      }
    }
  }
  const int64_t pixel = std::max<int64_t>(
      3 * kFloat, kBfloat16 * vae.base_channels *
                      *std::max_element(vae.channel_multipliers.begin(),
                                        vae.channel_multipliers.end()));
  return most_pixels * pixel + kernels * kRecordedKernel;
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

int64_t PositionBiasBytes(const ModelSpec& spec) {
  const int64_t rows = TokenBucket(spec.tokenizer.max_length);
  return kBfloat16 * spec.text_encoder.heads * rows * rows;
}

// Of the longest text (cuda/recorded_texts.h).
int64_t TextWorkBytes(const ModelSpec& spec) {
  const TextEncoderSpec& text = spec.text_encoder;
  const int64_t rows = TokenBucket(spec.tokenizer.max_length);
  const int64_t inner = int64_t{text.heads} * text.head_width;
  // Two images of the residual stream and its norm, or of what is made of the
  // features; then attention, or the layer between two norms.
  int64_t row = kFloat * (3 * int64_t{text.width} + 3 * spec.transformer.width);
  row += kBfloat16 * (2 * int64_t{text.width} +
                      std::max<int64_t>(5 * inner, 4 * text.mlp_width));
  // The bias with padding hidden, and scores of that size; what is made of the
  // text for all layers.
  return 2 * PositionBiasBytes(spec) + rows * row +
         TextBytes(spec.transformer, rows, /*is_on_gpu=*/true);
}

// What recorded texts take beside the arena.
int64_t RecordedTextBytes(const ModelSpec& spec) {
  const auto buckets =
      static_cast<int64_t>(TokenBuckets(spec.tokenizer.max_length).size());
  return PositionBiasBytes(spec) + buckets * spec.text_encoder.layers *
                                       kKernelsATextLayer * kRecordedKernel;
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

int64_t WorkPlan::arena() const {
  return std::max({step, decoding, text}) + kGaps;
}

WorkPlan PlanWork(const ModelSpec& spec, int vae_tile) {
  constexpr bool kIsOnGpu = true;
  const StepSize step = LargestStep(spec, kIsOnGpu);
  return {.step = StagingBytes(spec.transformer, step, kIsOnGpu) +
                  ActivationBytes(spec.transformer, step, kIsOnGpu),
          .decoding = LargestDecodingBytes(spec, vae_tile, kIsOnGpu),
          .text = TextWorkBytes(spec)};
}

std::vector<MemoryAccount> PlanMemory(const ModelSpec& spec,
                                      const MemoryDemand& demand) {
  HEATKV_CHECK(!spec.ladders.empty());
  const bool gpu = demand.is_on_gpu;
  const TransformerSpec& transformer = spec.transformer;
  const StepSize step = LargestStep(spec, gpu);
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
  const int64_t staging = StagingBytes(transformer, step, gpu);
  add("staging", staging);
  if (gpu) {
    // Of the arena that staging is the beginning of.
    add("activations", PlanWork(spec, demand.vae_tile).arena() - staging);
    add("recorded steps", RecordedStepBytes(spec));
    add("recorded decodings", RecordedDecodingBytes(spec, demand.vae_tile));
    add("modulations of a step", StepModulationBytes(transformer));
    if (demand.text_encoder_on_device) {
      add("recorded texts", RecordedTextBytes(spec));
    }
    add("libraries", kLibraries);
  } else {
    // A step, a decoding and a text's large product never run at once.
    add("activations",
        std::max({ActivationBytes(transformer, step, gpu),
                  LargestDecodingBytes(spec, demand.vae_tile, gpu),
                  TextBytes(transformer, TokenBucket(spec.tokenizer.max_length),
                            gpu)}));
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
