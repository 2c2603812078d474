#include "model/spec_rules.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace heatkv::model {
namespace {

constexpr int kVaeNormGroups = 32;

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::Status CheckPositive(
    std::initializer_list<std::pair<const char*, int>> fields) {
  for (const auto& [name, value] : fields) {
    if (value < 1) return Invalid(name, " is ", value, ", expected at least 1");
  }
  return absl::OkStatus();
}

absl::Status CheckTextSide(const ModelSpec& spec) {
  const TextEncoderSpec& text = spec.text_encoder;
  RETURN_IF_ERROR(
      CheckPositive({{"text_encoder.vocabulary", text.vocabulary},
                     {"text_encoder.width", text.width},
                     {"text_encoder.heads", text.heads},
                     {"text_encoder.head_width", text.head_width},
                     {"text_encoder.layers", text.layers},
                     {"text_encoder.mlp_width", text.mlp_width},
                     {"tokenizer.max_length", spec.tokenizer.max_length}}));
  if (text.relative_buckets < 4 || text.relative_buckets % 4 != 0) {
    return Invalid("text_encoder.relative_buckets is ", text.relative_buckets,
                   ", expected a multiple of 4");
  }
  if (text.relative_max_distance <= text.relative_buckets / 4) {
    return Invalid("text_encoder.relative_max_distance is ",
                   text.relative_max_distance, ", expected more than ",
                   text.relative_buckets / 4);
  }
  if (text.width != spec.transformer.text_width) {
    return Invalid("text_encoder.width is ", text.width,
                   ", but transformer.text_width is ",
                   spec.transformer.text_width);
  }
  if (spec.tokenizer.max_length > spec.transformer.text_max_length) {
    return Invalid("tokenizer.max_length is ", spec.tokenizer.max_length,
                   ", but transformer.text_max_length is ",
                   spec.transformer.text_max_length);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckTransformerSpec(const TransformerSpec& spec) {
  RETURN_IF_ERROR(
      CheckPositive({{"transformer.depth", spec.depth},
                     {"transformer.width", spec.width},
                     {"transformer.heads", spec.heads},
                     {"transformer.mlp_width", spec.mlp_width},
                     {"transformer.bits", spec.bits},
                     {"transformer.text_width", spec.text_width},
                     {"transformer.text_max_length", spec.text_max_length},
                     {"transformer.level_embeddings", spec.level_embeddings}}));
  if (spec.width % spec.heads != 0) {
    return Invalid("transformer.width ", spec.width,
                   " is no multiple of transformer.heads ", spec.heads);
  }
  if (spec.head_width() % 4 != 0) {
    return Invalid("transformer.width / heads is ", spec.head_width(),
                   ", expected a multiple of 4");
  }
  return absl::OkStatus();
}

absl::Status CheckVaeSpec(const VaeSpec& spec) {
  RETURN_IF_ERROR(
      CheckPositive({{"vae.base_channels", spec.base_channels},
                     {"vae.residual_blocks", spec.residual_blocks}}));
  if (spec.channel_multipliers.empty()) {
    return Invalid("vae.channel_multipliers is empty");
  }
  for (const int multiplier : spec.channel_multipliers) {
    const int channels = spec.base_channels * multiplier;
    if (multiplier < 1 || channels % kVaeNormGroups != 0) {
      return Invalid("vae.base_channels ", spec.base_channels, " times ",
                     multiplier, " is no positive multiple of ",
                     kVaeNormGroups);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSpec(const ModelSpec& spec) {
  RETURN_IF_ERROR(CheckTransformerSpec(spec.transformer));
  RETURN_IF_ERROR(CheckVaeSpec(spec.vae));
  RETURN_IF_ERROR(CheckTextSide(spec));
  if (spec.ladders.empty()) return Invalid("the model has no ladders");
  for (const LadderSpec& ladder : spec.ladders) {
    if (ladder.ladder.num_scales() > spec.transformer.level_embeddings) {
      return Invalid("ladder ", ladder.aspect, " ", ladder.pixel_class, " has ",
                     ladder.ladder.num_scales(),
                     " scales, but transformer.level_embeddings is ",
                     spec.transformer.level_embeddings);
    }
  }
  return absl::OkStatus();
}

}  // namespace heatkv::model
