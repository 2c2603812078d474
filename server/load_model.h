// The model that a server serves, loaded as its configuration says.
//
// The one place where the server knows a backend.  A program that serves
// something else (tests/fakes/fake_server.cc) links another definition.
//
// Thread safety: any thread.

#ifndef SERVER_LOAD_MODEL_H_
#define SERVER_LOAD_MODEL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/api/device_memory.h"
#include "model/api/image_model.h"
#include "model/api/memory_account.h"
#include "server/serving_plan.h"

namespace heatkv::server {

// Of a device as the configuration names it, now.  Fails as the backend does.
absl::StatusOr<model::DeviceMemory> ReadDeviceMemory(const std::string& device);

// The devices that the configuration names, one by one: with "all", every CUDA
// device of this machine.  Fails as the backend does if there is none.
absl::StatusOr<std::vector<std::string>> FindDevices(
    const ServerConfig& config);

// What `plan` needs of the memory of its devices, and of the host if that holds
// parts of the model as well, and what is available now.
absl::StatusOr<std::vector<model::MemoryAccount>> AccountForMemory(
    const ServingPlan& plan);

// The model on one of the plan's devices.  Fails as the backend does, naming
// the model's folder.
absl::StatusOr<std::unique_ptr<model::ImageModel>> LoadModel(
    const ServingPlan& plan, const std::string& device);

}  // namespace heatkv::server

#endif  // SERVER_LOAD_MODEL_H_
