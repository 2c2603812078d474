// What an operator decides about a server, as plain values, and its reading
// from YAML.  Strict: unknown keys, wrong types, units and ranges are errors
// with line and column, all of them at once.  Everything has a default, so an
// empty configuration serves the embedded model.
//
// deploy/heatkv.yaml shows every key with its meaning.

#ifndef SERVER_CONFIG_SERVER_CONFIG_H_
#define SERVER_CONFIG_SERVER_CONFIG_H_

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/engine/schedule_book.h"
#include "server/engine/scheduler.h"

namespace heatkv::server {

// Bytes, or a fraction of the device's memory; or neither: what suits the
// device (AutomaticPoolBlocks).
struct PoolSize {
  std::optional<std::int64_t> bytes;
  std::optional<double> fraction;  // in (0, 1]; then `bytes` means nothing

  bool is_automatic() const { return !bytes && !fraction; }
  // The bytes on a device with `device_bytes` of memory; at least so many if
  // the size is automatic.
  std::int64_t Resolve(std::int64_t device_bytes) const;

  friend bool operator==(const PoolSize&, const PoolSize&) = default;
};

// "auto", "256 MiB" or "25 %".
absl::StatusOr<PoolSize> ParsePoolSize(absl::string_view text);

// "none" or a seed.
absl::StatusOr<std::optional<std::uint64_t>> ParseRandomWeights(
    absl::string_view text);

// "auto", or names with commas between them.
absl::StatusOr<std::vector<std::string>> ParsePixelClasses(
    absl::string_view text);

enum class CacheDtype { kFloat32, kBfloat16 };

// Auto: where the rest of the model is.
enum class TextEncoderDevice { kAuto, kGpu, kCpu };

// The sizes of which a model computes something before the server is ready.
enum class WarmUp { kNone, kFirst, kAll };

// How many jobs are kept and for how long, running ones included.
struct JobsConfig {
  int max_jobs = 256;
  std::int64_t max_bytes = std::int64_t{1} << 30;  // of encoded pictures
  absl::Duration keep_for = absl::Minutes(10);     // from a job's end
  std::string folder;                              // empty: in memory

  friend bool operator==(const JobsConfig&, const JobsConfig&) = default;
};

struct ServerConfig {
  // host:port; port 0 takes any free one.
  std::string listen = "127.0.0.1:50051";
  std::string metrics_listen = "127.0.0.1:9464";
  std::string admin_listen = "127.0.0.1:50052";
  bool reflection = true;
  std::string log_level = "info";  // or "warning" or "error"

  // A folder, or the name of one below models/.
  std::string model = "models/default";
  // The seed of weights that are drawn instead of read.
  std::optional<std::uint64_t> random_weights;
  // With random weights: where the tokenizer is, a file or a folder with one;
  // empty: in the model's folder.
  std::string tokenizer;
  // That are offered; none: the first and those that every tier fits.
  std::vector<std::string> pixel_classes;
  // Or "cuda", "cuda:N", several GPUs with commas between them, or "all"
  // (device_names.h).  Pool, limits of what runs and prompts that are
  // remembered are those of each device.
  std::string device = "cpu";
  TextEncoderDevice text_encoder = TextEncoderDevice::kAuto;
  // Pixels a side of what the VAE computes at once, 0: all; nothing: what suits
  // the device.
  std::optional<int> vae_tile;
  WarmUp warm_up = WarmUp::kAll;
  int threads = 0;  // of the model; 0: as many as the machine has cores

  // Nothing: what the device is best at, see cache_dtype_in_use().
  std::optional<CacheDtype> cache_dtype;
  PoolSize pool;

  std::vector<TierSpec> tiers = DefaultTiers();
  std::string default_tier = "standard";

  SchedulingPolicy policy = SchedulingPolicy::kLatency;
  absl::Duration aging = absl::Seconds(30);  // to the next higher class
  int max_running_images = 32;
  std::map<std::string, double> tenants;  // their weights; others have 1

  int max_images = 10;  // a request
  int max_prompt_bytes = 4096;
  int max_queued_requests = 64;
  // Peaks of all images that wait.
  std::int64_t max_queued_bytes = std::int64_t{16} << 30;
  int cached_prompts = 256;
  std::int64_t cached_prompt_bytes = std::int64_t{256} << 20;
  // Of a call whose client set no deadline, or a later one.
  absl::Duration max_request_time = absl::Minutes(10);

  // Threads that make PNG, JPEG and WebP.
  int encoder_threads = 2;
  absl::Duration drain_deadline = absl::Seconds(30);
  absl::Duration heartbeat = absl::Seconds(10);
  // A stream whose client reads nothing for so long is ended.
  absl::Duration stall_timeout = absl::Seconds(10);
  // No further image of a stream starts while more bytes of finished ones wait
  // to be sent.
  std::int64_t outbox_bytes = std::int64_t{8} << 20;
  JobsConfig jobs;

  // full 1, high 0.2, standard 0.1, economy 0.06.
  static std::vector<TierSpec> DefaultTiers();

  bool is_on_gpu() const { return device != "cpu"; }
  // The (first) GPU's number; 0 on the CPU, too.
  int gpu() const;
  // On the CPU, while the rest of the model is on a GPU.
  bool is_text_encoder_on_host() const {
    return is_on_gpu() && text_encoder == TextEncoderDevice::kCpu;
  }
  // By default float32 on the CPU; a GPU always has bfloat16.
  CacheDtype cache_dtype_in_use() const {
    return cache_dtype.value_or(is_on_gpu() ? CacheDtype::kBfloat16
                                            : CacheDtype::kFloat32);
  }

  friend bool operator==(const ServerConfig&, const ServerConfig&) = default;
};

absl::StatusOr<ServerConfig> LoadServerConfig(
    const std::filesystem::path& file);

// The same from text; `file` names it in messages.
absl::StatusOr<ServerConfig> ParseServerConfig(const std::string& text,
                                               absl::string_view file);

// The configuration as YAML that reads back as itself, every key written out.
std::string ToYaml(const ServerConfig& config);

// What is wrong between the values, YAML or not: a default tier that does not
// exist, a budget out of range, an address without a port.
absl::Status Validate(const ServerConfig& config);

}  // namespace heatkv::server

#endif  // SERVER_CONFIG_SERVER_CONFIG_H_
