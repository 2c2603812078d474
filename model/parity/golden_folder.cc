#include "model/parity/golden_folder.h"

#include <ATen/ATen.h>

#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/infinity/block_names.h"
#include "model/parity/aspect_templates.h"
#include "model/spec_rules.h"
#include "model/weights/tensor_bytes.h"
#include "nlohmann/json.hpp"

namespace heatkv::model {
namespace {

using nlohmann::json;

absl::Status MissingField(const char* name, const char* form) {
  return absl::InvalidArgumentError(
      absl::StrCat("meta.json: '", name, "' is missing or not ", form));
}

absl::StatusOr<int> IntegerField(const json& object, const char* name) {
  const auto it = object.find(name);
  if (it == object.end() || !it->is_number_integer()) {
    return MissingField(name, "a whole number");
  }
  return it->get<int>();
}

// A list with a value for each scale, or one number for all.
absl::StatusOr<std::vector<double>> PerScaleField(const json& meta,
                                                  const char* name,
                                                  std::size_t scales) {
  const auto it = meta.find(name);
  if (it == meta.end()) return MissingField(name, "a list of numbers");
  if (it->is_number()) return std::vector<double>(scales, it->get<double>());
  if (!it->is_array()) return MissingField(name, "a list of numbers");
  std::vector<double> values;
  for (const json& value : *it) {
    if (!value.is_number()) return MissingField(name, "a list of numbers");
    values.push_back(value.get<double>());
  }
  if (values.size() == 1) values.resize(scales, values.front());
  if (values.size() < scales) {
    return absl::InvalidArgumentError(
        absl::StrCat("meta.json: '", name, "' has ", values.size(),
                     " values for ", scales, " scales"));
  }
  values.resize(scales);
  return values;
}

absl::StatusOr<std::vector<cache::Grid>> GridsField(const json& meta) {
  constexpr char kForm[] = "a list of [1, height, width]";
  const auto it = meta.find("schedule");
  if (it == meta.end() || !it->is_array() || it->empty()) {
    return MissingField("schedule", kForm);
  }
  std::vector<cache::Grid> grids;
  for (const json& grid : *it) {
    if (!grid.is_array() || grid.size() != 3) {
      return MissingField("schedule", kForm);
    }
    for (const json& side : grid) {
      if (!side.is_number_integer() || side.get<std::int64_t>() < 1 ||
          side.get<std::int64_t>() > 4096) {
        return MissingField("schedule", kForm);
      }
    }
    grids.push_back(
        {.height = grid[1].get<int>(), .width = grid[2].get<int>()});
  }
  return grids;
}

// Official ladders are known; another model's run says what its grid is.
absl::StatusOr<cache::Grid> RopeGridField(
    const json& meta, const std::vector<cache::Grid>& grids) {
  const auto it = meta.find("rope_grid");
  if (it == meta.end()) return RopeGridFor(grids);
  if (!it->is_array() || it->size() != 2 || !(*it)[0].is_number_unsigned() ||
      !(*it)[1].is_number_unsigned()) {
    return MissingField("rope_grid", "[height, width]");
  }
  return cache::Grid{.height = (*it)[0].get<int>(),
                     .width = (*it)[1].get<int>()};
}

// 0 switches the rule off, as 1 does.  Top-k binds only at 1: a bit has two
// classes.
absl::StatusOr<double> TopPField(const json& meta) {
  const json top_k = meta.value("top_k", json(0));
  if (top_k == json(1)) {
    return absl::InvalidArgumentError(
        "meta.json: 'top_k' is 1; only values that never bind are supported");
  }
  const auto it = meta.find("top_p");
  if (it == meta.end()) return GoldenFolder::Run().top_p;
  if (!it->is_number()) return MissingField("top_p", "a number");
  const auto top_p = it->get<double>();
  return top_p == 0 ? 1.0 : top_p;
}

// The heads are pairs [head, layer], as the authors' orders files have them.
absl::StatusOr<std::optional<GoldenFolder::HeatKv>> HeatKvField(
    const json& meta) {
  const json field = meta.value("heatkv", json());
  if (field.is_null()) return std::optional<GoldenFolder::HeatKv>();
  constexpr char kForm[] =
      "{'budget': number, 'sink_scales': whole number, 'orders': lists of "
      "[head, layer]}";
  const auto is_count = [](const json& value) {
    return value.is_number_integer() && value.get<std::int64_t>() >= 0 &&
           value.get<std::int64_t>() < 1 << 16;
  };
  if (!field.is_object() || !field.value("budget", json()).is_number() ||
      !is_count(field.value("sink_scales", json())) ||
      !field.value("orders", json()).is_array()) {
    return MissingField("heatkv", kForm);
  }
  GoldenFolder::HeatKv heatkv = {.budget = field["budget"].get<double>(),
                                 .sink_scales = field["sink_scales"].get<int>(),
                                 .orders = {}};
  for (const json& order : field["orders"]) {
    if (!order.is_array()) return MissingField("heatkv", kForm);
    std::vector<cache::HeadIndex>& heads = heatkv.orders.emplace_back();
    for (const json& pair : order) {
      if (!pair.is_array() || pair.size() != 2 || !is_count(pair[0]) ||
          !is_count(pair[1])) {
        return MissingField("heatkv", kForm);
      }
      heads.push_back(
          {.layer = pair[1].get<int>(), .head = pair[0].get<int>()});
    }
  }
  return std::optional<GoldenFolder::HeatKv>(std::move(heatkv));
}

// Guidance on logits is what 0 means; other items are layers.
absl::Status CheckInsertion(const json& meta) {
  const auto it = meta.find("cfg_insertion_layer");
  if (it == meta.end() || *it == json(0) || *it == json::array({0})) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("meta.json: 'cfg_insertion_layer' is ", it->dump(),
                   "; only [0], guidance on the logits, is supported"));
}

}  // namespace

bool GoldenFolder::Run::guided() const {
  for (const double value : guidance) {
    if (value != 1.0) return true;
  }
  return false;
}

absl::StatusOr<GoldenFolder> GoldenFolder::Open(const std::string& folder,
                                                bool with_vae) {
  ASSIGN_OR_RETURN(
      SafetensorsFile goldens,
      SafetensorsFile::Open(absl::StrCat(folder, "/goldens.safetensors")));
  GoldenFolder result(folder, std::move(goldens));
  RETURN_IF_ERROR(result.ReadMeta());
  RETURN_IF_ERROR(result.TransformerWeights().status());
  if (with_vae) RETURN_IF_ERROR(result.VaeWeights().status());
  return result;
}

absl::Status GoldenFolder::ReadMeta() {
  const std::string path = absl::StrCat(folder_, "/meta.json");
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  const json meta = json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!meta.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no JSON object"));
  }
  ASSIGN_OR_RETURN(run_.grids, GridsField(meta));
  ASSIGN_OR_RETURN(run_.rope_grid, RopeGridField(meta, run_.grids));
  ASSIGN_OR_RETURN(run_.guidance,
                   PerScaleField(meta, "cfg", run_.grids.size()));
  ASSIGN_OR_RETURN(run_.tau, PerScaleField(meta, "tau", run_.grids.size()));
  ASSIGN_OR_RETURN(run_.top_p, TopPField(meta));
  ASSIGN_OR_RETURN(run_.heatkv, HeatKvField(meta));
  const auto lengths = meta.find("text_lens");
  if (lengths == meta.end() || !lengths->is_array() || lengths->empty()) {
    return MissingField("text_lens", "a list of whole numbers");
  }
  for (const json& length : *lengths) {
    if (!length.is_number_integer() || length.get<int>() < 1) {
      return MissingField("text_lens", "a list of whole numbers above 0");
    }
    run_.text_lengths.push_back(length.get<int>());
  }
  if (meta.contains("batch")) {
    ASSIGN_OR_RETURN(const int batch, IntegerField(meta, "batch"));
    if (batch != run_.batch()) {
      return absl::InvalidArgumentError(
          absl::StrCat("meta.json: 'batch' is ", batch,
                       ", but 'text_lens' has ", run_.batch(), " values"));
    }
  }
  RETURN_IF_ERROR(CheckInsertion(meta));

  const auto config = meta.find("config");
  if (config == meta.end() || !config->is_object()) {
    return MissingField("config", "an object");
  }
  ASSIGN_OR_RETURN(configuration_.depth, IntegerField(*config, "depth"));
  ASSIGN_OR_RETURN(configuration_.width, IntegerField(*config, "embed_dim"));
  ASSIGN_OR_RETURN(configuration_.heads, IntegerField(*config, "num_heads"));
  ASSIGN_OR_RETURN(configuration_.bits, IntegerField(*config, "bits"));
  const json patchify = config->value("patchify", json(false));
  configuration_.patchify = patchify == json(true) || patchify == json(1);
  if (config->contains("vae_base")) {
    ASSIGN_OR_RETURN(configuration_.vae_base,
                     IntegerField(*config, "vae_base"));
  }
  return absl::OkStatus();
}

absl::StatusOr<WeightStore> GoldenFolder::TransformerWeights(
    const WeightStore::Options& options) const {
  return WeightStore::Open({absl::StrCat(folder_, "/infinity.safetensors")},
                           options);
}

absl::StatusOr<WeightStore> GoldenFolder::VaeWeights(
    const WeightStore::Options& options) const {
  return WeightStore::Open({absl::StrCat(folder_, "/vae.safetensors")},
                           options);
}

absl::StatusOr<TransformerSpec> GoldenFolder::ReadTransformerSpec(
    const WeightStore& weights) const {
  TransformerSpec spec;
  spec.depth = configuration_.depth;
  spec.width = configuration_.width;
  spec.heads = configuration_.heads;
  spec.bits = configuration_.bits;
  spec.patchify = configuration_.patchify;
  // A dimension that only tensors tell; the loader then checks all of them.
  const auto dimension = [&](const std::string& name,
                             std::size_t index) -> absl::StatusOr<int> {
    const std::optional<Shape> shape = weights.ShapeOf(name);
    if (!shape.has_value() || shape->size() <= index) {
      return absl::InvalidArgumentError(
          absl::StrCat(folder_, "/infinity.safetensors: tensor '", name,
                       "' is missing or of too low a rank"));
    }
    return static_cast<int>((*shape)[index]);
  };
  const std::vector<std::string> blocks = BlockNames(weights.Names());
  if (blocks.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        folder_, "/infinity.safetensors: no tensor names a block"));
  }
  ASSIGN_OR_RETURN(spec.mlp_width,
                   dimension(absl::StrCat(blocks[0], ".ffn.fc1.weight"), 0));
  ASSIGN_OR_RETURN(spec.text_max_length, dimension("cfg_uncond", 0));
  ASSIGN_OR_RETURN(spec.text_width, dimension("cfg_uncond", 1));
  ASSIGN_OR_RETURN(spec.level_embeddings, dimension("lvl_embed.weight", 0));
  RETURN_IF_ERROR(CheckTransformerSpec(spec));
  if (spec.level_embeddings < static_cast<int>(run_.grids.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("lvl_embed.weight has ", spec.level_embeddings,
                     " rows for ", run_.grids.size(), " scales"));
  }
  for (const int length : run_.text_lengths) {
    if (length > spec.text_max_length) {
      return absl::InvalidArgumentError(
          absl::StrCat("a prompt has ", length, " tokens, but cfg_uncond ",
                       spec.text_max_length, " rows"));
    }
  }
  return spec;
}

absl::StatusOr<VaeSpec> GoldenFolder::ReadVaeSpec(
    const WeightStore& weights) const {
  // Rows of a convolution, with or without the wrapper level of its name.
  const auto outputs = [&](const std::string& name) {
    std::optional<Shape> shape =
        weights.ShapeOf(absl::StrCat(name, ".conv.weight"));
    if (!shape) shape = weights.ShapeOf(absl::StrCat(name, ".weight"));
    return shape && !shape->empty() ? static_cast<int>((*shape)[0]) : 0;
  };
  const auto first_convolution = [&](int level, int block) {
    return outputs(
        absl::StrCat("decoder.up.", level, ".block.", block, ".conv1"));
  };
  VaeSpec spec;
  spec.residual_blocks = 0;
  while (first_convolution(0, spec.residual_blocks) > 0) {
    ++spec.residual_blocks;
  }
  const int finest = first_convolution(0, 0);
  spec.base_channels = configuration_.vae_base.value_or(finest);
  for (int level = 0; first_convolution(level, 0) > 0; ++level) {
    const int channels = first_convolution(level, 0);
    if (spec.base_channels < 1 || channels % spec.base_channels != 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          folder_, "/vae.safetensors: level ", level, " has ", channels,
          " channels, no multiple of vae_base ", spec.base_channels));
    }
    spec.channel_multipliers.push_back(channels / spec.base_channels);
  }
  if (spec.channel_multipliers.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        folder_, "/vae.safetensors: no tensor names a decoder level"));
  }
  RETURN_IF_ERROR(CheckVaeSpec(spec));
  return spec;
}

absl::StatusOr<std::optional<at::Tensor>> GoldenFolder::Find(
    const std::string& name, std::int64_t elements) const {
  const auto it = goldens_.tensors().find(name);
  if (it == goldens_.tensors().end()) return std::optional<at::Tensor>();
  const TensorRecord& record = it->second;
  if (!ScalarTypeOf(record.dtype).has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(goldens_.path(), ": tensor '", name, "' has dtype ",
                     record.dtype, ", which no recorded run uses"));
  }
  const at::Tensor tensor = CopyTensor(goldens_, record);
  if (tensor.numel() != elements) {
    return absl::InvalidArgumentError(absl::StrCat(
        goldens_.path(), ": tensor '", name, "' has shape ",
        ShapeText(record.shape), ", expected ", elements, " values"));
  }
  return std::optional<at::Tensor>(tensor);
}

absl::StatusOr<at::Tensor> GoldenFolder::Get(const std::string& name,
                                             const Shape& shape) const {
  std::int64_t elements = 1;
  for (const std::int64_t side : shape) elements *= side;
  ASSIGN_OR_RETURN(const std::optional<at::Tensor> tensor,
                   Find(name, elements));
  if (!tensor.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(goldens_.path(), ": there is no tensor '", name,
                     "' of shape ", ShapeText(shape)));
  }
  return tensor->reshape(shape);
}

}  // namespace heatkv::model
