#include "model/vae/decoder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/vae/image_in_bands.h"
#include "model/vae/row_bands.h"

namespace heatkv::model {

absl::StatusOr<std::unique_ptr<VaeDecoder>> VaeDecoder::Load(
    const VaeSpec& spec, int bits, WeightStore weights) {
  auto decoder = std::unique_ptr<VaeDecoder>(new VaeDecoder());
  const int finest = spec.base_channels * spec.channel_multipliers.front();
  int channels = spec.base_channels * spec.channel_multipliers.back();
  decoder->input_ =
      Convolution::Take(weights, "decoder.conv_in", channels, bits, 3);
  for (const char* name : {"decoder.mid.block_1", "decoder.mid.block_2"}) {
    decoder->middle_.push_back(
        ResidualBlock::Take(weights, name, channels, channels));
  }
  const int levels = static_cast<int>(spec.channel_multipliers.size());
  for (int level = levels - 1; level >= 0; --level) {
    const std::string prefix = absl::StrCat("decoder.up.", level);
    const int outputs = spec.base_channels * spec.channel_multipliers[level];
    decoder->most_channels_ = std::max(decoder->most_channels_, outputs);
    Level& made = decoder->levels_.emplace_back();
    if (level < levels - 1) {
      made.doubling = DoublingConvolution::Take(
          weights, absl::StrCat("decoder.up.", level + 1, ".upsample.conv"),
          channels, /*in_parts=*/!decoder->input_.weight.is_cpu());
    }
    for (int block = 0; block < spec.residual_blocks; ++block) {
      made.blocks.push_back(ResidualBlock::Take(
          weights, absl::StrCat(prefix, ".block.", block), outputs, channels));
      channels = outputs;
    }
  }
  decoder->output_norm_ = GroupNorm::Take(weights, "decoder.norm_out", finest);
  decoder->output_ =
      Convolution::Take(weights, "decoder.conv_out", 3, finest, 3);
  for (const char* prefix : {"encoder.", "quantizer.", "quantize."}) {
    weights.IgnorePrefix(prefix);
  }
  RETURN_IF_ERROR(weights.Finish());
  return decoder;
}

at::Tensor VaeDecoder::Decode(const at::Tensor& codes, int tile) const {
  return Finish(Begin(codes, /*levels=*/0), /*levels=*/0, tile);
}

int VaeDecoder::LevelsUpTo(std::int64_t height, std::int64_t width,
                           std::int64_t most_pixels) const {
  std::int64_t pixels = height * width;
  int levels = 0;
  while (levels < static_cast<int>(levels_.size()) && pixels <= most_pixels) {
    ++levels;
    pixels *= 4;
  }
  return levels;
}

at::Tensor VaeDecoder::Begin(const at::Tensor& codes, int levels) const {
  at::Tensor x = input_(codes.to(input_.weight.scalar_type())
                            .contiguous(at::MemoryFormat::ChannelsLast));
  for (const ResidualBlock& block : middle_) x = block(std::move(x));
  for (int i = 0; i < levels; ++i) x = Whole(levels_[i], std::move(x));
  const bool is_all = levels == static_cast<int>(levels_.size());
  return is_all ? Output(std::move(x)) : x;
}

at::Tensor VaeDecoder::RoomForBegin(std::int64_t most_pixels) const {
  const auto of_level =
      static_cast<std::int64_t>(most_channels_ * input_.weight.element_size());
  const auto of_picture =
      static_cast<std::int64_t>(3 * c10::elementSize(at::kFloat));
  return at::empty({most_pixels * std::max(of_level, of_picture)},
                   input_.weight.options().dtype(at::kByte));
}

at::Tensor VaeDecoder::Finish(at::Tensor x, int levels, int tile) const {
  if (levels == static_cast<int>(levels_.size())) return x;
  const std::int64_t most_pixels = std::int64_t{tile} * tile;
  bool is_in_bands = false;
  for (std::size_t i = levels; i < levels_.size(); ++i) {
    const Level& level = levels_[i];
    const std::int64_t pixels =
        x.size(2) * x.size(3) * (level.doubling.has_value() ? 4 : 1);
    is_in_bands = tile > 0 && pixels > most_pixels;
    x = is_in_bands ? InBands(level, std::move(x), most_pixels)
                    : Whole(level, std::move(x));
  }
  return is_in_bands ? OutputInBands(std::move(x), most_pixels)
                     : Output(std::move(x));
}

at::Tensor VaeDecoder::Whole(const Level& level, at::Tensor x) {
  if (level.doubling.has_value()) x = (*level.doubling)(x);
  for (const ResidualBlock& block : level.blocks) x = block(std::move(x));
  return x;
}

at::Tensor VaeDecoder::Output(at::Tensor x) const {
  return output_(output_norm_.Consume(std::move(x), {})).to(at::kFloat);
}

at::Tensor VaeDecoder::InBands(const Level& level, at::Tensor x,
                               std::int64_t most_pixels) {
  auto block = level.blocks.begin();
  if (level.doubling.has_value()) {
    const DoublingConvolution& doubling = *level.doubling;
    if (block != level.blocks.end() && block->changes_channels()) {
      DoubledImage doubled(&doubling, std::move(x));
      x = block->InBands(doubled, most_pixels);
      ++block;
    } else {
      x = doubling(x);
    }
  }
  for (; block != level.blocks.end(); ++block) {
    x = block->InBands(std::move(x), most_pixels);
  }
  return x;
}

at::Tensor VaeDecoder::OutputInBands(at::Tensor x,
                                     std::int64_t most_pixels) const {
  const std::int64_t height = x.size(2);
  x = output_norm_.Consume(std::move(x), {});
  std::vector<at::Tensor> picture;
  for (const RowBand band : RowBands(height, x.size(3), most_pixels)) {
    const RowBand read = band.WithHalo(height);
    picture.push_back(output_(x.narrow(2, read.first, read.rows()))
                          .narrow(2, band.first - read.first, band.rows())
                          .to(at::kFloat));
  }
  return at::cat(picture, /*dim=*/2);
}

}  // namespace heatkv::model
