#include "model/api/flop_count.h"

#include <cstdint>

namespace heatkv::model {
namespace {

// Tokens that the heads of one layer attend to, summed over the heads and
// averaged over the layers.
double AttendedTokens(const cache::Schedule& schedule, int scale) {
  const cache::ScaleLadder& ladder = schedule.ladder();
  std::int64_t tokens = 0;
  for (int layer = 0; layer < schedule.layers(); ++layer) {
    for (int head = 0; head < schedule.heads(); ++head) {
      tokens += ladder.tokens(scale);
      for (int source = 0; source < scale; ++source) {
        const bool is_gone =
            source >= ladder.first_prunable() &&
            schedule.IsRemoved(scale, source, {.layer = layer, .head = head});
        if (!is_gone) tokens += ladder.tokens(source);
      }
    }
  }
  return static_cast<double>(tokens) / schedule.layers();
}

}  // namespace

ScaleFlops FlopsOfScale(const TransformerSpec& spec,
                        const cache::Schedule& schedule, int scale,
                        int branches, int text_tokens) {
  const double width = spec.width;
  const double rows = 1.0 * branches * schedule.ladder().tokens(scale);
  const double bits = spec.bits_per_token();
  ScaleFlops flops;
  // Queries, keys, values and projection; query and projection of the text's
  // attention; the feed-forward network.
  flops.products = rows * spec.depth *
                   (2 * 6 * width * width + 2 * 2 * width * spec.mlp_width);
  flops.self_attention = 4 * rows * spec.depth * spec.head_width() *
                         AttendedTokens(schedule, scale);
  flops.cross_attention = 4 * rows * spec.depth * width * text_tokens;
  flops.ends = 2 * rows * width * (bits + 2 * bits);
  return flops;
}

double FlopsOfTextKeys(const TransformerSpec& spec, int text_tokens) {
  return 4.0 * text_tokens * spec.depth * spec.width * spec.width;
}

double FlopsOfTextEncoder(const TextEncoderSpec& spec, int tokens) {
  const double inner = 1.0 * spec.heads * spec.head_width;
  const double products =
      4 * inner * spec.width + 3.0 * spec.mlp_width * spec.width;
  return spec.layers * tokens * (2 * products + 4 * inner * tokens);
}

double FlopsOfDecoding(const VaeSpec& spec, int bits, int cells) {
  double flops = 0;
  double pixels = cells;
  const auto convolution = [&](double outputs, double inputs, int side) {
    flops += 2 * pixels * outputs * inputs * side * side;
  };
  const auto residual = [&](double outputs, double inputs) {
    convolution(outputs, inputs, 3);
    convolution(outputs, outputs, 3);
    if (inputs != outputs) convolution(outputs, inputs, 1);
  };
  const int levels = static_cast<int>(spec.channel_multipliers.size());
  double channels = 1.0 * spec.base_channels * spec.channel_multipliers.back();
  convolution(channels, bits, 3);
  residual(channels, channels);
  residual(channels, channels);
  for (int level = levels - 1; level >= 0; --level) {
    const double outputs =
        1.0 * spec.base_channels * spec.channel_multipliers[level];
    for (int block = 0; block < spec.residual_blocks; ++block) {
      residual(outputs, channels);
      channels = outputs;
    }
    if (level > 0) {
      pixels *= 4;
      convolution(channels, channels, 3);
    }
  }
  convolution(3, channels, 3);
  return flops;
}

}  // namespace heatkv::model
