// heatkv_fake_server: the server with the fake model instead of a real one.
//
// Takes the same flags as heatkv_server and a real model's folder, of which it
// reads the sizes and the profile, and makes pictures that are noise but depend
// on everything that a real picture depends on (tests/fakes/fake_model.h).  It
// needs no torch: for load and fault tests under sanitizers, and for clients
// that want a server without a model.
//
//   --broken_while FILE   while the file exists, all that the model is asked
//                         fails, as a device does that has gone
//   --broken_device NAME  only that of this device
//   --devices N           as if the machine had so many CUDA devices

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "server/config/device_names.h"
#include "server/load_model.h"
#include "tests/fakes/fake_model.h"

ABSL_FLAG(std::string, broken_while, "",
          "file; while it exists, all that the model is asked fails");

ABSL_FLAG(std::string, broken_device, "",
          "the only device that is broken; empty: all");
ABSL_FLAG(int, devices, 1, "CUDA devices that this machine seems to have");

namespace heatkv::server {

absl::StatusOr<std::vector<std::string>> FindDevices(
    const ServerConfig& config) {
  ASSIGN_OR_RETURN(std::vector<std::string> devices,
                   ParseDevices(config.device));
  if (devices.front() != kAllDevices) return devices;
  devices.clear();
  for (int d = 0; d < absl::GetFlag(FLAGS_devices); ++d) {
    devices.push_back(absl::StrCat("cuda:", d));
  }
  return devices;
}

// The pool alone: nothing else takes memory here.
absl::StatusOr<std::vector<model::MemoryAccount>> AccountForMemory(
    const ServingPlan& plan) {
  std::vector<model::MemoryAccount> accounts;
  if (!plan.config.is_on_gpu()) return accounts;
  for (const std::string& device : plan.devices) {
    ASSIGN_OR_RETURN(const model::DeviceMemory memory,
                     ReadDeviceMemory(device));
    model::MemoryAccount& account = accounts.emplace_back();
    account.device = device;
    account.available = memory.available;
    account.parts = {
        {.name = "block pool",
         .bytes = plan.pool_blocks * plan.book->geometry().block_bytes()}};
  }
  return accounts;
}

absl::StatusOr<model::DeviceMemory> ReadDeviceMemory(
    const std::string& device) {
  if (device != "cpu" && GpuNumber(device) >= absl::GetFlag(FLAGS_devices)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "device '", device, "' is not available; this machine has ",
        absl::GetFlag(FLAGS_devices), " CUDA devices"));
  }
  const std::int64_t bytes = std::int64_t{1} << 34;
  return model::DeviceMemory{.total = bytes, .available = bytes};
}

absl::StatusOr<std::unique_ptr<model::ImageModel>> LoadModel(
    const ServingPlan& plan, const std::string& device) {
  auto script = std::make_shared<model::FakeModel::Script>();
  // Slow enough that requests meet, whatever the machine.
  script->spend = [](absl::Duration cost) { absl::SleepFor(cost); };
  script->step_cost = [](int scale, int) {
    return absl::Milliseconds(1 + scale);
  };
  const std::string broken = absl::GetFlag(FLAGS_broken_device);
  if (const std::string file = absl::GetFlag(FLAGS_broken_while);
      !file.empty() && (broken.empty() || broken == device)) {
    const auto attempt = [file] {
      return std::filesystem::exists(file)
                 ? absl::InternalError("the device is gone")
                 : absl::OkStatus();
    };
    script->on_encode = [attempt](const std::string&) { return attempt(); };
    script->on_step = [attempt](const std::string&, std::uint64_t, int) {
      return attempt();
    };
    script->on_decode = [attempt](const std::string&) { return attempt(); };
  }
  script->decode_cost = absl::Milliseconds(2);
  script->encode_cost = absl::Milliseconds(2);
  model::ModelSpec spec = plan.folder.spec;
  // A byte is a token here.
  spec.tokenizer.max_length = plan.config.max_prompt_bytes + 1;
  return std::make_unique<model::FakeModel>(
      std::move(script), std::move(spec),
      plan.config.cache_dtype_in_use() == CacheDtype::kFloat32 ? 4 : 2);
}

}  // namespace heatkv::server
