#include "server/config/config_entries.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/check.h"

namespace heatkv::server {
namespace {

// The shortest decimal number that reads back as `value`.
std::string NumberText(double value) {
  for (int digits = 6; digits < 17; ++digits) {
    std::string text = absl::StrFormat("%.*g", digits, value);
    if (std::strtod(text.c_str(), nullptr) == value) return text;
  }
  return absl::StrFormat("%.17g", value);
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
  return absl::StrCat(NumberText(absl::ToDoubleSeconds(duration)), " s");
}

std::string Quoted(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      absl::StrAppend(&quoted, "\\", std::string(1, c));
    } else if (absl::ascii_iscntrl(c)) {
      absl::StrAppendFormat(&quoted, "\\x%02x", static_cast<unsigned char>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

// A name as a key of YAML.
std::string KeyText(const std::string& name) {
  const bool plain = !name.empty() && absl::ascii_isalpha(name[0]) &&
                     std::all_of(name.begin(), name.end(), [](char c) {
                       return absl::ascii_isalnum(c) || c == '_' || c == '-';
                     });
  return plain ? name : Quoted(name);
}

std::string PoolText(const PoolSize& pool) {
  if (pool.is_automatic()) return "auto";
  return pool.fraction.has_value()
             ? absl::StrFormat("\"%.15g %%\"", 100 * *pool.fraction)
             : BytesText(*pool.bytes);
}

std::string PlaceText(TextEncoderDevice place) {
  switch (place) {
    case TextEncoderDevice::kAuto:
      return "auto";
    case TextEncoderDevice::kGpu:
      return "gpu";
    case TextEncoderDevice::kCpu:
      return "cpu";
  }
  HEATKV_CHECK(false) << "no such place";
  return "";
}

std::string WarmUpText(WarmUp sizes) {
  switch (sizes) {
    case WarmUp::kNone:
      return "false";
    case WarmUp::kFirst:
      return "first";
    case WarmUp::kAll:
      return "true";
  }
  HEATKV_CHECK(false) << "no such sizes";
  return "";
}

std::string DtypeText(std::optional<CacheDtype> dtype) {
  if (!dtype.has_value()) return "auto";
  return *dtype == CacheDtype::kFloat32 ? "float32" : "bfloat16";
}

}  // namespace

std::vector<ConfigEntry> ConfigEntries(const ServerConfig& c) {
  constexpr bool kLive = true;
  std::vector<ConfigEntry> entries = {
      {"", "listen", Quoted(c.listen)},
      {"", "metrics_listen", Quoted(c.metrics_listen)},
      {"", "admin_listen", Quoted(c.admin_listen)},
      {"", "reflection", c.reflection ? "true" : "false"},
      {"", "log_level", c.log_level, kLive},
      {"", "model", Quoted(c.model)},
      {"", "random_weights",
       c.random_weights.has_value() ? absl::StrCat(*c.random_weights) : "none"},
      {"", "tokenizer", Quoted(c.tokenizer)},
      {"", "pixel_classes",
       c.pixel_classes.empty() ? "auto"
                               : Quoted(absl::StrJoin(c.pixel_classes, ", "))},
      {"", "device", Quoted(c.device)},
      {"", "text_encoder", PlaceText(c.text_encoder)},
      {"", "vae_tile",
       c.vae_tile.has_value() ? absl::StrCat(*c.vae_tile) : "auto"},
      {"", "warm_up", WarmUpText(c.warm_up)},
      {"", "threads", absl::StrCat(c.threads)},
      {"", "encoder_threads", absl::StrCat(c.encoder_threads)},
      {"cache", "pool", PoolText(c.pool), kLive},
      {"cache", "dtype", DtypeText(c.cache_dtype)},
  };
  for (const TierSpec& tier : c.tiers) {
    entries.push_back(
        {"tiers", KeyText(tier.name), tier.budget.ToString(), kLive});
  }
  const std::vector<ConfigEntry> scheduling = {
      {"", "default_tier", Quoted(c.default_tier), kLive},
      {"scheduling", "policy",
       c.policy == SchedulingPolicy::kLatency ? "latency" : "preview", kLive},
      {"scheduling", "aging", DurationText(c.aging), kLive},
      {"scheduling", "max_running_images", absl::StrCat(c.max_running_images),
       kLive},
  };
  entries.insert(entries.end(), scheduling.begin(), scheduling.end());
  for (const auto& [tenant, weight] : c.tenants) {
    entries.push_back({"tenants", KeyText(tenant), NumberText(weight), kLive});
  }
  const std::vector<ConfigEntry> rest = {
      {"limits", "max_images", absl::StrCat(c.max_images)},
      {"limits", "max_prompt_bytes", absl::StrCat(c.max_prompt_bytes)},
      {"limits", "max_queued_requests", absl::StrCat(c.max_queued_requests),
       kLive},
      {"limits", "max_queued_bytes", BytesText(c.max_queued_bytes), kLive},
      {"limits", "cached_prompts", absl::StrCat(c.cached_prompts)},
      {"limits", "cached_prompt_bytes", BytesText(c.cached_prompt_bytes)},
      {"limits", "max_request_time", DurationText(c.max_request_time)},
      {"", "drain_deadline", DurationText(c.drain_deadline)},
      {"", "heartbeat", DurationText(c.heartbeat)},
      {"", "stall_timeout", DurationText(c.stall_timeout)},
      {"", "outbox_bytes", BytesText(c.outbox_bytes)},
      {"jobs", "max_jobs", absl::StrCat(c.jobs.max_jobs)},
      {"jobs", "max_bytes", BytesText(c.jobs.max_bytes)},
      {"jobs", "keep_for", DurationText(c.jobs.keep_for)},
      {"jobs", "folder", Quoted(c.jobs.folder)},
  };
  entries.insert(entries.end(), rest.begin(), rest.end());
  return entries;
}

std::string ToYaml(const ServerConfig& config) {
  std::string yaml;
  std::string section;
  for (const ConfigEntry& entry : ConfigEntries(config)) {
    if (entry.section != section) {
      section = entry.section;
      if (!section.empty()) absl::StrAppend(&yaml, section, ":\n");
    }
    absl::StrAppend(&yaml, section.empty() ? "" : "  ", entry.key, ": ",
                    entry.value, "\n");
  }
  return yaml;
}

std::vector<ConfigDifference> CompareConfigs(const ServerConfig& before,
                                             const ServerConfig& after) {
  const auto find = [](const std::vector<ConfigEntry>& entries,
                       const std::string& path) {
    return std::find_if(
        entries.begin(), entries.end(),
        [&](const ConfigEntry& entry) { return entry.path() == path; });
  };
  const std::vector<ConfigEntry> old_entries = ConfigEntries(before);
  const std::vector<ConfigEntry> new_entries = ConfigEntries(after);
  std::vector<ConfigDifference> differences;
  for (const ConfigEntry& entry : new_entries) {
    const auto old = find(old_entries, entry.path());
    const std::string was = old == old_entries.end() ? "" : old->value;
    if (was != entry.value) {
      differences.push_back({entry.path(), was, entry.value, entry.is_live});
    }
  }
  for (const ConfigEntry& entry : old_entries) {
    if (find(new_entries, entry.path()) == new_entries.end()) {
      differences.push_back({entry.path(), entry.value, "", entry.is_live});
    }
  }
  return differences;
}

}  // namespace heatkv::server
