// What a model folder's model.yaml says: the shape of each part, the ladders it
// was trained on, and its default knobs.  A plain value; it holds no weights.
// server/config reads it from YAML, model/ builds the network from it.

#ifndef MODEL_API_MODEL_SPEC_H_
#define MODEL_API_MODEL_SPEC_H_

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "cache/ladder.h"

namespace heatkv::model {

// The Infinity transformer (2B: depth 32, width 2048, heads 16, bits 32).
struct TransformerSpec {
  std::vector<std::string> files;  // relative to the model folder
  int depth = 0;
  int width = 0;
  int heads = 0;
  int mlp_width = 0;
  int bits = 0;             // of one VAE cell (d)
  bool patchify = false;    // a token covers 2x2 VAE cells and predicts 4d bits
  int text_width = 0;       // of the text features (Ct5)
  int text_max_length = 0;  // rows of cfg_uncond
  int level_embeddings = 0;  // rows of lvl_embed, >= scales of every ladder

  int head_width() const { return width / heads; }
  int bits_per_token() const { return patchify ? 4 * bits : bits; }

  friend bool operator==(const TransformerSpec&,
                         const TransformerSpec&) = default;
};

// The BSQ-VAE's decoder.
struct VaeSpec {
  std::vector<std::string> files;
  int base_channels = 0;
  std::vector<int> channel_multipliers;  // finest level first
  int residual_blocks = 3;               // a level

  // Pixels per side of one VAE cell.
  int upsampling() const {
    return 1 << (static_cast<int>(channel_multipliers.size()) - 1);
  }
  friend bool operator==(const VaeSpec&, const VaeSpec&) = default;
};

// The T5-architecture text encoder.
struct TextEncoderSpec {
  std::vector<std::string> files;
  int vocabulary = 0;
  int width = 0;
  int heads = 0;
  int head_width = 0;
  int layers = 0;
  int mlp_width = 0;
  int relative_buckets = 32;
  int relative_max_distance = 128;

  friend bool operator==(const TextEncoderSpec&,
                         const TextEncoderSpec&) = default;
};

struct TokenizerSpec {
  std::string file;    // a SentencePiece model
  int max_length = 0;  // pieces, the end-of-sequence piece included

  friend bool operator==(const TokenizerSpec&, const TokenizerSpec&) = default;
};

// One aspect ratio in one pixel class.
struct LadderSpec {
  std::string aspect;       // "1:1": height : width, as clients write it
  std::string pixel_class;  // "1M"
  cache::Grid rope_grid;    // last grid of the aspect's longest ladder
  cache::ScaleLadder ladder;

  friend bool operator==(const LadderSpec&, const LadderSpec&) = default;
};

struct DefaultKnobs {
  double guidance = 3.0;
  double tau = 1.0;
  double top_p = 0.97;

  friend bool operator==(const DefaultKnobs&, const DefaultKnobs&) = default;
};

struct ModelSpec {
  std::string name;
  std::string description;
  TransformerSpec transformer;
  VaeSpec vae;
  TextEncoderSpec text_encoder;
  TokenizerSpec tokenizer;
  std::vector<LadderSpec> ladders;  // the first is the default
  DefaultKnobs defaults;
  std::string profile;  // file of the HeatKV profile; empty if none
  // Rows (tokens of all branches of all images) that a step may have while it
  // costs little more than a step of one row, because the weights are read once
  // a step.  Scales with fewer rows run in groups (GroupCapacity).
  int group_rows = 256;

  // Pixels per side of one transformer token.
  int pixels_per_token() const {
    return vae.upsampling() * (transformer.patchify ? 2 : 1);
  }

  friend bool operator==(const ModelSpec&, const ModelSpec&) = default;
};

// Rows of an image up to which a GPU's steps may have the shape of an image
// alone besides that of a group: where the device has products of few rows,
// whose bytes are those of either (model/cuda/layer_products.h).  Larger images
// gain less alone than their groups lose.
inline constexpr int kFewRows = 96;

// How many images one step takes at scale `scale` of ladder `ladder`: as many
// as have `group_rows` rows together, 1 to 16.  A step of that kind always has
// this shape, however many images come (kFewRows apart), so an image does not
// depend on what else is being served.
inline int GroupCapacity(const ModelSpec& spec, int ladder, int scale,
                         int branches) {
  const int rows = branches * spec.ladders[ladder].ladder.tokens(scale);
  return std::clamp(spec.group_rows / rows, 1, 16);
}

}  // namespace heatkv::model

#endif  // MODEL_API_MODEL_SPEC_H_
