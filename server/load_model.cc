#include "server/load_model.h"

#include <filesystem>
#include <iterator>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/infinity_backend.h"
#include "model/memory_plan.h"
#include "server/config/device_names.h"

namespace heatkv::server {
namespace {

// Of random weights.
absl::StatusOr<std::string> FindTokenizer(const ServingPlan& plan) {
  const std::string& name = plan.folder.spec.tokenizer.file;
  std::error_code none;
  if (plan.config.tokenizer.empty()) {
    const std::filesystem::path own = plan.folder.path / name;
    if (std::filesystem::exists(own, none)) return own.string();
    return absl::NotFoundError(absl::StrCat(
        plan.folder.path.string(), " has no tokenizer (", name,
        "), and random weights bring none: name a file or folder that has one, "
        "such as models/default, with --tokenizer or the key tokenizer"));
  }
  const std::filesystem::path given = plan.config.tokenizer;
  if (std::filesystem::is_directory(given, none)) {
    return (given / name).string();
  }
  return given.string();
}

model::InfinityBackend::Options::WarmUp WarmUpOf(WarmUp sizes) {
  using Sizes = model::InfinityBackend::Options::WarmUp;
  switch (sizes) {
    case WarmUp::kNone:
      return Sizes::kNone;
    case WarmUp::kFirst:
      return Sizes::kFirst;
    case WarmUp::kAll:
      return Sizes::kAll;
  }
  HEATKV_CHECK(false) << "no such sizes";
  return Sizes::kNone;
}

}  // namespace

absl::StatusOr<model::DeviceMemory> ReadDeviceMemory(
    const std::string& device) {
  return model::InfinityBackend::ReadMemory(device);
}

absl::StatusOr<std::vector<std::string>> FindDevices(
    const ServerConfig& config) {
  ASSIGN_OR_RETURN(const std::vector<std::string> named,
                   ParseDevices(config.device));
  if (named.front() != kAllDevices) return named;
  std::vector<std::string> devices;
  while (static_cast<int>(devices.size()) < kMostDevices) {
    const std::string device = absl::StrCat("cuda:", devices.size());
    const absl::Status found = ReadDeviceMemory(device).status();
    if (absl::IsInvalidArgument(found) && !devices.empty()) break;
    RETURN_IF_ERROR(found);
    devices.push_back(device);
  }
  return devices;
}

absl::StatusOr<std::vector<model::MemoryAccount>> AccountForMemory(
    const ServingPlan& plan) {
  const ServerConfig& config = plan.config;
  model::MemoryDemand demand;
  demand.is_on_gpu = config.is_on_gpu();
  demand.pool_bytes = plan.pool_blocks * plan.book->geometry().block_bytes();
  demand.text_encoder_on_device = !config.is_text_encoder_on_host();
  demand.host_text_bytes_per_value =
      model::InfinityBackend::HostBytesPerWeight();
  demand.remembered_texts = config.cached_prompts;
  demand.remembered_bytes = config.cached_prompt_bytes;
  demand.running_images = config.max_running_images;
  demand.vae_tile =
      model::InfinityBackend::VaeTile(config.vae_tile, config.is_on_gpu());
  std::vector<model::MemoryAccount> accounts;
  std::vector<model::MemoryAccount> host;  // what each device has of it
  for (const std::string& device : plan.devices) {
    demand.device = device;
    std::vector<model::MemoryAccount> its =
        model::PlanMemory(plan.folder.spec, demand);
    accounts.push_back(std::move(its.front()));
    std::move(its.begin() + 1, its.end(), std::back_inserter(host));
  }
  if (!host.empty()) {
    model::MemoryAccount& sum = accounts.emplace_back(host.front());
    for (std::size_t i = 1; i < host.size(); ++i) {
      for (std::size_t part = 0; part < sum.parts.size(); ++part) {
        sum.parts[part].bytes += host[i].parts[part].bytes;
      }
    }
  }
  for (model::MemoryAccount& account : accounts) {
    ASSIGN_OR_RETURN(const model::DeviceMemory memory,
                     ReadDeviceMemory(account.device));
    account.available = memory.available;
  }
  return accounts;
}

absl::StatusOr<std::unique_ptr<model::ImageModel>> LoadModel(
    const ServingPlan& plan, const std::string& device) {
  model::InfinityBackend::Options options;
  options.device = device;
  options.threads = plan.config.threads;
  options.cache_dtype = plan.config.cache_dtype_in_use() == CacheDtype::kFloat32
                            ? model::InfinityBackend::CacheDtype::kFloat32
                            : model::InfinityBackend::CacheDtype::kBFloat16;
  options.text_encoder_on_cpu =
      plan.config.text_encoder == TextEncoderDevice::kCpu;
  options.vae_tile = plan.config.vae_tile;
  options.warm_up = WarmUpOf(plan.config.warm_up);
  options.random_weights = plan.folder.random_weights;
  if (options.random_weights.has_value()) {
    ASSIGN_OR_RETURN(options.tokenizer, FindTokenizer(plan));
  }
  const std::string folder = plan.folder.path.string();
  auto model =
      model::InfinityBackend::Create(plan.folder.spec, folder, options);
  if (model.ok() || absl::StrContains(model.status().message(), folder)) {
    return model;
  }
  return absl::Status(model.status().code(),
                      absl::StrCat(folder, ": ", model.status().message()));
}

}  // namespace heatkv::server
