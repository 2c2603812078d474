#include "server/config/server_config.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "server/config/device_names.h"
#include "server/config/yaml_map.h"

namespace heatkv::server {
namespace {

constexpr auto kOptional = YamlMap::kOptional;
constexpr int kMany = 1 << 20;
constexpr std::size_t kMaxTenantName = 64;

TierSpec MakeTier(std::string name, double budget) {
  const absl::StatusOr<cache::Budget> value = cache::Budget::Create(budget);
  HEATKV_CHECK_OK(value.status());
  return {std::move(name), *value};
}

void ReadDuration(YamlMap* map, absl::string_view key, absl::Duration* out) {
  double seconds = 0;
  if (map->ReadSeconds(key, kOptional, &seconds)) *out = absl::Seconds(seconds);
}

// The same, but not 0.
void ReadTimeSpan(YamlMap* map, absl::string_view key, YamlMistakes* mistakes,
                  absl::Duration* out) {
  absl::Duration value = *out;
  ReadDuration(map, key, &value);
  if (value > absl::ZeroDuration()) {
    *out = value;
  } else {
    mistakes->Add(*map->ReadNode(key, kOptional),
                  absl::StrCat(map->PathOf(key), " must be longer than 0 s"));
  }
}

// Reads one of `choices` and gives its index.
bool ReadChoice(YamlMap* map, absl::string_view key,
                const std::vector<std::string>& choices, YamlMistakes* mistakes,
                int* index) {
  std::string text;
  if (!map->ReadString(key, kOptional, &text)) return false;
  const auto found = std::find(choices.begin(), choices.end(), text);
  if (found == choices.end()) {
    const std::vector<std::string> first(choices.begin(), choices.end() - 1);
    mistakes->Add(
        *map->ReadNode(key, kOptional),
        absl::StrCat(map->PathOf(key), " must be ", absl::StrJoin(first, ", "),
                     " or ", choices.back(), ", but is \"", text, "\""));
    return false;
  }
  *index = static_cast<int>(found - choices.begin());
  return true;
}

void ReadCache(const YAML::Node& node, ServerConfig* config,
               YamlMistakes* mistakes) {
  YamlMap map(node, "cache", mistakes);
  std::string text;
  if (map.ReadString("pool", kOptional, &text)) {
    const auto pool = ParsePoolSize(text);
    if (pool.ok()) {
      config->pool = *pool;
    } else {
      mistakes->Add(*map.ReadNode("pool", kOptional),
                    absl::StrCat("cache.pool: ", pool.status().message()));
    }
  }
  int dtype = 0;
  if (ReadChoice(&map, "dtype", {"auto", "float32", "bfloat16"}, mistakes,
                 &dtype) &&
      dtype > 0) {
    config->cache_dtype =
        dtype == 1 ? CacheDtype::kFloat32 : CacheDtype::kBfloat16;
  }
  map.Finish();
}

void ReadTiers(const YAML::Node& node, ServerConfig* config,
               YamlMistakes* mistakes) {
  YamlMap map(node, "tiers", mistakes);
  if (!node.IsMap()) return;
  config->tiers.clear();
  for (const auto& entry : node) {
    if (!entry.first.IsScalar()) {
      mistakes->Add(entry.first, "a tier's name must be text");
      continue;
    }
    const std::string& name = entry.first.Scalar();
    double budget = 1.0;
    if (map.ReadDouble(name, kOptional, 0.0, 1.0, &budget)) {
      config->tiers.push_back(MakeTier(name, budget));
    }
  }
}

void ReadScheduling(const YAML::Node& node, ServerConfig* config,
                    YamlMistakes* mistakes) {
  YamlMap map(node, "scheduling", mistakes);
  int policy = 0;
  if (ReadChoice(&map, "policy", {"latency", "preview"}, mistakes, &policy)) {
    config->policy =
        policy == 0 ? SchedulingPolicy::kLatency : SchedulingPolicy::kPreview;
  }
  ReadTimeSpan(&map, "aging", mistakes, &config->aging);
  map.ReadInt("max_running_images", kOptional, 1, kMany,
              &config->max_running_images);
  map.Finish();
}

void ReadTenants(const YAML::Node& node, ServerConfig* config,
                 YamlMistakes* mistakes) {
  YamlMap map(node, "tenants", mistakes);
  if (!node.IsMap()) return;
  config->tenants.clear();
  for (const auto& entry : node) {
    const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
    if (name.empty() || name.size() > kMaxTenantName) {
      mistakes->Add(entry.first,
                    absl::StrCat("a tenant's name must be text of 1 to ",
                                 kMaxTenantName, " bytes"));
      continue;
    }
    double weight = 1.0;
    if (map.ReadDouble(name, kOptional, 0.001, 1e6, &weight)) {
      config->tenants[name] = weight;
    }
  }
}

void ReadJobs(const YAML::Node& node, ServerConfig* config,
              YamlMistakes* mistakes) {
  YamlMap map(node, "jobs", mistakes);
  map.ReadInt("max_jobs", kOptional, 1, kMany, &config->jobs.max_jobs);
  map.ReadBytes("max_bytes", kOptional, &config->jobs.max_bytes);
  ReadTimeSpan(&map, "keep_for", mistakes, &config->jobs.keep_for);
  map.ReadString("folder", kOptional, &config->jobs.folder);
  map.Finish();
}

void ReadLimits(const YAML::Node& node, ServerConfig* config,
                YamlMistakes* mistakes) {
  YamlMap map(node, "limits", mistakes);
  map.ReadInt("max_images", kOptional, 1, 10, &config->max_images);
  map.ReadInt("max_prompt_bytes", kOptional, 1, 1 << 20,
              &config->max_prompt_bytes);
  map.ReadInt("max_queued_requests", kOptional, 1, kMany,
              &config->max_queued_requests);
  map.ReadBytes("max_queued_bytes", kOptional, &config->max_queued_bytes);
  map.ReadInt("cached_prompts", kOptional, 0, kMany, &config->cached_prompts);
  map.ReadBytes("cached_prompt_bytes", kOptional, &config->cached_prompt_bytes);
  ReadTimeSpan(&map, "max_request_time", mistakes, &config->max_request_time);
  map.Finish();
}

// A name, or a list of names.
void ReadDevice(YamlMap* map, ServerConfig* config) {
  const auto node = map->ReadNode("device", kOptional);
  if (!node.has_value() || !node->IsSequence()) {
    map->ReadString("device", kOptional, &config->device);
    return;
  }
  std::vector<std::string> devices;
  if (map->ReadStrings("device", kOptional, &devices)) {
    config->device = absl::StrJoin(devices, ", ");
  }
}

void ReadModel(YamlMap* map, ServerConfig* config, YamlMistakes* mistakes) {
  map->ReadString("model", kOptional, &config->model);
  std::string seed;
  if (map->ReadString("random_weights", kOptional, &seed)) {
    const auto parsed = ParseRandomWeights(seed);
    if (parsed.ok()) {
      config->random_weights = *parsed;
    } else {
      mistakes->Add(*map->ReadNode("random_weights", kOptional),
                    absl::StrCat("random_weights ", parsed.status().message()));
    }
  }
  map->ReadString("tokenizer", kOptional, &config->tokenizer);
  std::string classes;
  if (map->ReadString("pixel_classes", kOptional, &classes)) {
    const auto parsed = ParsePixelClasses(classes);
    if (parsed.ok()) {
      config->pixel_classes = *parsed;
    } else {
      mistakes->Add(*map->ReadNode("pixel_classes", kOptional),
                    absl::StrCat("pixel_classes ", parsed.status().message()));
    }
  }
  ReadDevice(map, config);
  int place = 0;
  if (ReadChoice(map, "text_encoder", {"auto", "gpu", "cpu"}, mistakes,
                 &place)) {
    config->text_encoder = static_cast<TextEncoderDevice>(place);
  }
  std::string tile;
  if (map->ReadString("vae_tile", kOptional, &tile) && tile != "auto") {
    constexpr int kMost = 1 << 14;
    int side = -1;
    if (absl::SimpleAtoi(tile, &side) && side >= 0 && side <= kMost) {
      config->vae_tile = side;
    } else {
      mistakes->Add(*map->ReadNode("vae_tile", kOptional),
                    absl::StrCat("vae_tile must be auto or a whole number from "
                                 "0 to ",
                                 kMost, ", but is \"", tile, "\""));
    }
  }
  int sizes = 0;
  if (ReadChoice(map, "warm_up", {"false", "first", "true"}, mistakes,
                 &sizes)) {
    config->warm_up = static_cast<WarmUp>(sizes);
  }
  map->ReadInt("threads", kOptional, 0, 4096, &config->threads);
}

absl::StatusOr<ServerConfig> ReadConfig(const YAML::Node& root,
                                        absl::string_view file) {
  ServerConfig config;
  if (root.IsNull()) return config;
  YamlMistakes mistakes{std::string(file)};
  YamlMap map(root, "", &mistakes);
  map.ReadString("listen", kOptional, &config.listen);
  map.ReadString("metrics_listen", kOptional, &config.metrics_listen);
  map.ReadString("admin_listen", kOptional, &config.admin_listen);
  map.ReadBool("reflection", kOptional, &config.reflection);
  const std::vector<std::string> levels = {"info", "warning", "error"};
  int level = 0;
  if (ReadChoice(&map, "log_level", levels, &mistakes, &level)) {
    config.log_level = levels[level];
  }
  ReadModel(&map, &config, &mistakes);
  map.ReadInt("encoder_threads", kOptional, 1, 256, &config.encoder_threads);
  if (const auto node = map.ReadNode("cache", kOptional)) {
    ReadCache(*node, &config, &mistakes);
  }
  if (const auto node = map.ReadNode("tiers", kOptional)) {
    ReadTiers(*node, &config, &mistakes);
  }
  map.ReadString("default_tier", kOptional, &config.default_tier);
  if (const auto node = map.ReadNode("scheduling", kOptional)) {
    ReadScheduling(*node, &config, &mistakes);
  }
  if (const auto node = map.ReadNode("tenants", kOptional)) {
    ReadTenants(*node, &config, &mistakes);
  }
  if (const auto node = map.ReadNode("limits", kOptional)) {
    ReadLimits(*node, &config, &mistakes);
  }
  ReadDuration(&map, "drain_deadline", &config.drain_deadline);
  ReadTimeSpan(&map, "heartbeat", &mistakes, &config.heartbeat);
  ReadTimeSpan(&map, "stall_timeout", &mistakes, &config.stall_timeout);
  map.ReadBytes("outbox_bytes", kOptional, &config.outbox_bytes);
  if (const auto node = map.ReadNode("jobs", kOptional)) {
    ReadJobs(*node, &config, &mistakes);
  }
  map.Finish();
  RETURN_IF_ERROR(mistakes.ToStatus());
  if (const absl::Status valid = Validate(config); !valid.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": ", valid.message()));
  }
  return config;
}

bool IsAddress(absl::string_view text) {
  const std::size_t colon = text.rfind(':');
  int port = -1;
  return colon != absl::string_view::npos && colon > 0 &&
         absl::SimpleAtoi(text.substr(colon + 1), &port) && port >= 0 &&
         port <= 65535;
}

}  // namespace

int ServerConfig::gpu() const {
  const auto devices = ParseDevices(device);
  return devices.ok() ? GpuNumber(devices->front()) : 0;
}

std::int64_t PoolSize::Resolve(std::int64_t device_bytes) const {
  constexpr std::int64_t kAutomatic = std::int64_t{256} << 20;
  return fraction.has_value()
             ? static_cast<std::int64_t>(std::floor(*fraction * device_bytes))
             : bytes.value_or(kAutomatic);
}

absl::StatusOr<PoolSize> ParsePoolSize(absl::string_view text) {
  PoolSize size;
  absl::string_view stripped = absl::StripAsciiWhitespace(text);
  if (stripped == "auto") return size;
  if (absl::ConsumeSuffix(&stripped, "%")) {
    double percent = 0;
    if (!absl::SimpleAtod(stripped, &percent) || !(percent > 0) ||
        percent > 100) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", text, "\" is not a percentage above 0 and up to 100"));
    }
    size.fraction = percent / 100;
    return size;
  }
  ASSIGN_OR_RETURN(size.bytes, ParseBytes(text));
  if (*size.bytes < 1) {
    return absl::InvalidArgumentError("the pool must have 1 byte or more");
  }
  return size;
}

absl::StatusOr<std::optional<std::uint64_t>> ParseRandomWeights(
    absl::string_view text) {
  std::uint64_t seed = 0;
  if (text == "none") return std::optional<std::uint64_t>();
  if (!absl::SimpleAtoi(text, &seed)) {
    return absl::InvalidArgumentError(
        absl::StrCat("must be none or a seed, a whole number from 0, but is \"",
                     text, "\""));
  }
  return std::optional<std::uint64_t>(seed);
}

absl::StatusOr<std::vector<std::string>> ParsePixelClasses(
    absl::string_view text) {
  std::vector<std::string> classes;
  if (text == "auto") return classes;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    classes.emplace_back(absl::StripAsciiWhitespace(part));
    if (classes.back().empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "must be auto or names with commas between them, but is \"", text,
          "\""));
    }
  }
  return classes;
}

std::vector<TierSpec> ServerConfig::DefaultTiers() {
  return {MakeTier("full", 1.0), MakeTier("high", 0.2),
          MakeTier("standard", 0.1), MakeTier("economy", 0.06)};
}

absl::StatusOr<ServerConfig> LoadServerConfig(
    const std::filesystem::path& file) {
  ASSIGN_OR_RETURN(const YAML::Node root, ParseYamlFile(file));
  return ReadConfig(root, file.string());
}

absl::StatusOr<ServerConfig> ParseServerConfig(const std::string& text,
                                               absl::string_view file) {
  ASSIGN_OR_RETURN(const YAML::Node root, ParseYaml(text, file));
  return ReadConfig(root, file);
}

absl::Status Validate(const ServerConfig& config) {
  std::vector<std::string> mistakes;
  for (const auto& [key, address] :
       {std::pair("listen", config.listen),
        std::pair("metrics_listen", config.metrics_listen),
        std::pair("admin_listen", config.admin_listen)}) {
    if (!IsAddress(address)) {
      mistakes.push_back(
          absl::StrCat(key, " must be host:port, but is \"", address, "\""));
    }
  }
  if (const auto devices = ParseDevices(config.device); !devices.ok()) {
    mistakes.push_back(std::string(devices.status().message()));
  } else if (config.is_on_gpu() && config.cache_dtype == CacheDtype::kFloat32) {
    mistakes.push_back(
        absl::StrCat("cache.dtype must be bfloat16 on a GPU (device \"",
                     config.device, "\"), but is float32"));
  }
  if (config.text_encoder == TextEncoderDevice::kGpu && !config.is_on_gpu()) {
    mistakes.push_back(absl::StrCat("text_encoder is gpu, but device is \"",
                                    config.device, "\""));
  }
  if (!config.tokenizer.empty() && !config.random_weights.has_value()) {
    mistakes.push_back(absl::StrCat(
        "tokenizer is \"", config.tokenizer,
        "\", but only random weights take another tokenizer than the model's "
        "own"));
  }
  std::vector<std::string> names;
  bool found = false;
  for (const TierSpec& tier : config.tiers) {
    names.push_back(tier.name);
    found = found || tier.name == config.default_tier;
  }
  if (!found) {
    mistakes.push_back(
        absl::StrCat("default_tier \"", config.default_tier,
                     "\" is none of the tiers: ", absl::StrJoin(names, ", ")));
  }
  if (mistakes.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(mistakes, "; "));
}

}  // namespace heatkv::server
