#include "server/config/model_yaml.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/config/yaml_map.h"

namespace heatkv::server {
namespace {

constexpr int kFormat = 1;
constexpr int kMany = 1 << 24;  // above any width or count of this family

constexpr auto kRequired = YamlMap::kRequired;
constexpr auto kOptional = YamlMap::kOptional;

model::TransformerSpec ReadTransformer(const YAML::Node& node,
                                       YamlMistakes* mistakes) {
  YamlMap map(node, "transformer", mistakes);
  model::TransformerSpec spec;
  map.ReadStrings("files", kRequired, &spec.files);
  map.ReadInt("depth", kRequired, 1, 4096, &spec.depth);
  const bool has_width = map.ReadInt("width", kRequired, 1, kMany, &spec.width);
  const bool has_heads = map.ReadInt("heads", kRequired, 1, 4096, &spec.heads);
  map.ReadInt("mlp_width", kRequired, 1, kMany, &spec.mlp_width);
  map.ReadInt("bits", kRequired, 1, 64, &spec.bits);
  map.ReadBool("patchify", kRequired, &spec.patchify);
  map.ReadInt("text_width", kRequired, 1, kMany, &spec.text_width);
  map.ReadInt("text_max_length", kRequired, 1, kMany, &spec.text_max_length);
  map.ReadInt("level_embeddings", kRequired, 1, 4096, &spec.level_embeddings);
  map.Finish();
  if (has_width && has_heads && spec.width % spec.heads != 0) {
    mistakes->Add(node, absl::StrCat("transformer.width ", spec.width,
                                     " is no multiple of transformer.heads ",
                                     spec.heads));
  }
  return spec;
}

model::VaeSpec ReadVae(const YAML::Node& node, YamlMistakes* mistakes) {
  YamlMap map(node, "vae", mistakes);
  model::VaeSpec spec;
  map.ReadStrings("files", kRequired, &spec.files);
  map.ReadInt("base_channels", kRequired, 1, kMany, &spec.base_channels);
  map.ReadInts("channel_multipliers", kRequired, 1, 1024,
               &spec.channel_multipliers);
  map.ReadInt("residual_blocks", kRequired, 1, 64, &spec.residual_blocks);
  map.Finish();
  return spec;
}

model::TextEncoderSpec ReadTextEncoder(const YAML::Node& node,
                                       YamlMistakes* mistakes) {
  YamlMap map(node, "text_encoder", mistakes);
  model::TextEncoderSpec spec;
  map.ReadStrings("files", kRequired, &spec.files);
  map.ReadInt("vocabulary", kRequired, 1, kMany, &spec.vocabulary);
  map.ReadInt("width", kRequired, 1, kMany, &spec.width);
  map.ReadInt("head_width", kRequired, 1, kMany, &spec.head_width);
  map.ReadInt("heads", kRequired, 1, 4096, &spec.heads);
  map.ReadInt("layers", kRequired, 1, 4096, &spec.layers);
  map.ReadInt("mlp_width", kRequired, 1, kMany, &spec.mlp_width);
  map.ReadInt("relative_buckets", kRequired, 1, kMany, &spec.relative_buckets);
  map.ReadInt("relative_max_distance", kRequired, 1, kMany,
              &spec.relative_max_distance);
  map.Finish();
  return spec;
}

bool ReadGrid(const YAML::Node& node, absl::string_view path,
              YamlMistakes* mistakes, cache::Grid* grid) {
  const auto side = [](const YAML::Node& n, int* out) {
    return YAML::convert<int>::decode(n, *out) && *out >= 1 && *out <= 65536;
  };
  if (node.IsSequence() && node.size() == 2 && side(node[0], &grid->height) &&
      side(node[1], &grid->width)) {
    return true;
  }
  mistakes->Add(
      node,
      absl::StrCat(path, " must be [height, width] in tokens, 1 or more"));
  return false;
}

void ReadLadder(const YAML::Node& node, int index, int sink_scales,
                int level_embeddings, YamlMistakes* mistakes,
                std::vector<model::LadderSpec>* out) {
  const std::string path = absl::StrCat("ladders[", index, "]");
  YamlMap map(node, path, mistakes);
  std::string aspect;
  std::string pixel_class;
  cache::Grid rope_grid;
  bool good = map.ReadString("aspect", kRequired, &aspect);
  good &= map.ReadString("pixel_class", kRequired, &pixel_class);
  const auto rope = map.ReadNode("rope_grid", kRequired);
  good &= rope.has_value() &&
          ReadGrid(*rope, map.PathOf("rope_grid"), mistakes, &rope_grid);
  const auto scales = map.ReadNode("scales", kRequired);
  map.Finish();
  if (!scales.has_value()) return;
  if (!scales->IsSequence()) {
    mistakes->Add(*scales, absl::StrCat(path, ".scales must be a list"));
    return;
  }
  std::vector<cache::Grid> grids;
  for (const auto& item : *scales) {
    cache::Grid grid;
    good &= ReadGrid(item, absl::StrCat(path, ".scales[", grids.size(), "]"),
                     mistakes, &grid);
    grids.push_back(grid);
  }
  if (!good) return;
  if (static_cast<int>(grids.size()) > level_embeddings) {
    mistakes->Add(*scales, absl::StrCat(path, " has ", grids.size(),
                                        " scales, but transformer."
                                        "level_embeddings is ",
                                        level_embeddings));
    return;
  }
  for (const model::LadderSpec& earlier : *out) {
    if (earlier.aspect == aspect && earlier.pixel_class == pixel_class) {
      mistakes->Add(node, absl::StrCat(path, " repeats aspect ", aspect,
                                       " in pixel class ", pixel_class));
      return;
    }
  }
  auto ladder = cache::ScaleLadder::Create(std::move(grids), sink_scales);
  if (!ladder.ok()) {
    mistakes->Add(*scales, absl::StrCat(path, ": ", ladder.status().message()));
    return;
  }
  out->push_back({std::move(aspect), std::move(pixel_class), rope_grid,
                  *std::move(ladder)});
}

absl::StatusOr<model::ModelSpec> ReadModel(const YAML::Node& root,
                                           absl::string_view file) {
  YamlMistakes mistakes{std::string(file)};
  YamlMap map(root, "", &mistakes);
  model::ModelSpec spec;
  int format = kFormat;
  map.ReadInt("format", kRequired, kFormat, kFormat, &format);
  map.ReadString("name", kRequired, &spec.name);
  map.ReadString("description", kOptional, &spec.description);
  if (const auto node = map.ReadNode("transformer", kRequired)) {
    spec.transformer = ReadTransformer(*node, &mistakes);
  }
  if (const auto node = map.ReadNode("vae", kRequired)) {
    spec.vae = ReadVae(*node, &mistakes);
  }
  if (const auto node = map.ReadNode("text_encoder", kRequired)) {
    spec.text_encoder = ReadTextEncoder(*node, &mistakes);
    if (mistakes.empty() &&
        spec.text_encoder.width != spec.transformer.text_width) {
      mistakes.Add(*node,
                   absl::StrCat("text_encoder.width ", spec.text_encoder.width,
                                " differs from transformer.text_width ",
                                spec.transformer.text_width));
    }
  }
  if (const auto node = map.ReadNode("tokenizer", kRequired)) {
    YamlMap tokenizer(*node, "tokenizer", &mistakes);
    tokenizer.ReadString("file", kRequired, &spec.tokenizer.file);
    tokenizer.ReadInt("max_length", kRequired, 1, kMany,
                      &spec.tokenizer.max_length);
    tokenizer.Finish();
  }
  int sink_scales = 1;
  map.ReadInt("sink_scales", kRequired, 1, 4096, &sink_scales);
  if (const auto node = map.ReadNode("ladders", kRequired)) {
    if (!node->IsSequence() || node->size() == 0) {
      mistakes.Add(*node, "ladders must be a list of one ladder or more");
    } else {
      int index = 0;
      for (const auto& item : *node) {
        ReadLadder(item, index++, sink_scales,
                   spec.transformer.level_embeddings, &mistakes, &spec.ladders);
      }
    }
  }
  if (const auto node = map.ReadNode("defaults", kOptional)) {
    YamlMap defaults(*node, "defaults", &mistakes);
    defaults.ReadDouble("guidance", kOptional, 0.0, 100.0,
                        &spec.defaults.guidance);
    defaults.ReadDouble("tau", kOptional, 1e-3, 100.0, &spec.defaults.tau);
    defaults.ReadDouble("top_p", kOptional, 0.0, 1.0, &spec.defaults.top_p);
    defaults.Finish();
  }
  map.ReadString("profile", kOptional, &spec.profile);
  map.ReadInt("group_rows", kOptional, 1, 65536, &spec.group_rows);
  map.Finish();
  RETURN_IF_ERROR(mistakes.ToStatus());
  return spec;
}

}  // namespace

absl::StatusOr<model::ModelSpec> LoadModelSpec(
    const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "model.yaml";
  ASSIGN_OR_RETURN(const YAML::Node root, ParseYamlFile(file));
  return ReadModel(root, file.string());
}

absl::StatusOr<model::ModelSpec> ParseModelSpec(const std::string& text,
                                                absl::string_view file) {
  ASSIGN_OR_RETURN(const YAML::Node root, ParseYaml(text, file));
  return ReadModel(root, file);
}

}  // namespace heatkv::server
