#include "server/config/server_config.h"

#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "server/config/yaml_map.h"

namespace heatkv::server {
namespace {

constexpr auto kOptional = YamlMap::kOptional;
constexpr int kMany = 1 << 20;

TierSpec MakeTier(std::string name, double budget) {
  const absl::StatusOr<cache::Budget> value = cache::Budget::Create(budget);
  HEATKV_CHECK_OK(value.status());
  return {std::move(name), *value};
}

void ReadDuration(YamlMap* map, absl::string_view key, absl::Duration* out) {
  double seconds = 0;
  if (map->ReadSeconds(key, kOptional, &seconds)) *out = absl::Seconds(seconds);
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
  if (map.ReadString("dtype", kOptional, &text)) {
    if (text == "float32" || text == "bfloat16") {
      config->cache_dtype =
          text == "float32" ? CacheDtype::kFloat32 : CacheDtype::kBfloat16;
    } else {
      mistakes->Add(
          *map.ReadNode("dtype", kOptional),
          absl::StrCat("cache.dtype must be float32 or bfloat16, but is \"",
                       text, "\""));
    }
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

void ReadLimits(const YAML::Node& node, ServerConfig* config,
                YamlMistakes* mistakes) {
  YamlMap map(node, "limits", mistakes);
  map.ReadInt("max_images", kOptional, 1, 10, &config->max_images);
  map.ReadInt("max_prompt_bytes", kOptional, 1, 1 << 20,
              &config->max_prompt_bytes);
  map.ReadInt("max_running_images", kOptional, 1, kMany,
              &config->max_running_images);
  map.ReadInt("max_queued_requests", kOptional, 1, kMany,
              &config->max_queued_requests);
  map.ReadBytes("max_queued_bytes", kOptional, &config->max_queued_bytes);
  map.ReadInt("cached_prompts", kOptional, 0, kMany, &config->cached_prompts);
  ReadDuration(&map, "max_request_time", &config->max_request_time);
  map.Finish();
}

absl::StatusOr<ServerConfig> ReadConfig(const YAML::Node& root,
                                        absl::string_view file) {
  ServerConfig config;
  if (root.IsNull()) return config;
  YamlMistakes mistakes{std::string(file)};
  YamlMap map(root, "", &mistakes);
  map.ReadString("listen", kOptional, &config.listen);
  map.ReadString("metrics_listen", kOptional, &config.metrics_listen);
  map.ReadBool("reflection", kOptional, &config.reflection);
  map.ReadString("model", kOptional, &config.model);
  map.ReadString("device", kOptional, &config.device);
  map.ReadInt("threads", kOptional, 0, 4096, &config.threads);
  map.ReadInt("encoder_threads", kOptional, 1, 256, &config.encoder_threads);
  if (const auto node = map.ReadNode("cache", kOptional)) {
    ReadCache(*node, &config, &mistakes);
  }
  if (const auto node = map.ReadNode("tiers", kOptional)) {
    ReadTiers(*node, &config, &mistakes);
  }
  map.ReadString("default_tier", kOptional, &config.default_tier);
  if (const auto node = map.ReadNode("limits", kOptional)) {
    ReadLimits(*node, &config, &mistakes);
  }
  ReadDuration(&map, "drain_deadline", &config.drain_deadline);
  ReadDuration(&map, "heartbeat", &config.heartbeat);
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

std::string BytesText(std::int64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  while (unit < 4 && bytes != 0 && bytes % 1024 == 0) {
    bytes /= 1024;
    ++unit;
  }
  return absl::StrCat(bytes, " ", units[unit]);
}

std::string DurationText(absl::Duration duration) {
  return absl::StrCat(absl::ToDoubleSeconds(duration), " s");
}

}  // namespace

std::int64_t PoolSize::Resolve(std::int64_t device_bytes) const {
  return fraction.has_value()
             ? static_cast<std::int64_t>(std::floor(*fraction * device_bytes))
             : bytes;
}

absl::StatusOr<PoolSize> ParsePoolSize(absl::string_view text) {
  PoolSize size;
  absl::string_view stripped = absl::StripAsciiWhitespace(text);
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
  if (size.bytes < 1) {
    return absl::InvalidArgumentError("the pool must have 1 byte or more");
  }
  return size;
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
        std::pair("metrics_listen", config.metrics_listen)}) {
    if (!IsAddress(address)) {
      mistakes.push_back(
          absl::StrCat(key, " must be host:port, but is \"", address, "\""));
    }
  }
  if (config.device != "cpu") {
    mistakes.push_back(
        absl::StrCat("device must be \"cpu\", but is \"", config.device, "\""));
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

std::string ToYaml(const ServerConfig& c) {
  std::string tiers;
  for (const TierSpec& tier : c.tiers) {
    absl::StrAppend(&tiers, "  ", tier.name, ": ", tier.budget.ToString(),
                    "\n");
  }
  const std::string pool =
      c.pool.fraction.has_value()
          ? absl::StrCat("\"", 100 * *c.pool.fraction, " %\"")
          : BytesText(c.pool.bytes);
  return absl::StrCat(
      "listen: \"", c.listen, "\"\nmetrics_listen: \"", c.metrics_listen,
      "\"\nreflection: ", c.reflection ? "true" : "false", "\nmodel: \"",
      c.model, "\"\ndevice: ", c.device, "\nthreads: ", c.threads,
      "\nencoder_threads: ", c.encoder_threads, "\ncache:\n  pool: ", pool,
      "\n  dtype: ",
      c.cache_dtype == CacheDtype::kFloat32 ? "float32" : "bfloat16",
      "\ntiers:\n", tiers, "default_tier: ", c.default_tier,
      "\nlimits:\n  max_images: ", c.max_images,
      "\n  max_prompt_bytes: ", c.max_prompt_bytes,
      "\n  max_running_images: ", c.max_running_images,
      "\n  max_queued_requests: ", c.max_queued_requests,
      "\n  max_queued_bytes: ", BytesText(c.max_queued_bytes),
      "\n  cached_prompts: ", c.cached_prompts,
      "\n  max_request_time: ", DurationText(c.max_request_time),
      "\ndrain_deadline: ", DurationText(c.drain_deadline),
      "\nheartbeat: ", DurationText(c.heartbeat), "\n");
}

}  // namespace heatkv::server
