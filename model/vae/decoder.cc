#include "model/vae/decoder.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#if HEATKV_CUDA
#include "model/cuda/kernel_calls.h"
#endif

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
    Level& made = decoder->levels_.emplace_back();
    for (int block = 0; block < spec.residual_blocks; ++block) {
      made.blocks.push_back(ResidualBlock::Take(
          weights, absl::StrCat(prefix, ".block.", block), outputs, channels));
      channels = outputs;
    }
    if (level > 0) {
      made.upsample =
          Convolution::Take(weights, absl::StrCat(prefix, ".upsample.conv"),
                            channels, channels, 3);
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

at::Tensor VaeDecoder::Decode(const at::Tensor& codes) const {
  at::Tensor x = input_(codes.to(input_.weight.scalar_type())
                            .contiguous(at::MemoryFormat::ChannelsLast));
  for (const ResidualBlock& block : middle_) x = block(std::move(x));
  for (const Level& level : levels_) {
    for (const ResidualBlock& block : level.blocks) x = block(std::move(x));
    if (level.upsample.weight.defined()) {
      x = at::upsample_nearest2d(x, {2 * x.size(2), 2 * x.size(3)});
#if HEATKV_CUDA
      if (x.is_cuda()) {
        x = level.upsample.WithoutBias(x);
        CudaAddBias(x, level.upsample.wide_bias(), /*added=*/{});
        continue;
      }
#endif
      x = level.upsample(x);
    }
  }
  return output_(output_norm_(x)).to(at::kFloat);
}

}  // namespace heatkv::model
