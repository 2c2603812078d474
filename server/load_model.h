// The model that a server serves, loaded as its configuration says.
//
// The one place where the server knows a backend.  A program that serves
// something else (tests/fakes/fake_server.cc) links another definition.
//
// Thread safety: any thread.

#ifndef SERVER_LOAD_MODEL_H_
#define SERVER_LOAD_MODEL_H_

#include <memory>

#include "absl/status/statusor.h"
#include "model/api/device_memory.h"
#include "model/api/image_model.h"
#include "server/config/server_config.h"
#include "server/serving_plan.h"

namespace heatkv::server {

// Of the device that `config` names, now.  Fails as the backend does.
absl::StatusOr<model::DeviceMemory> ReadDeviceMemory(
    const ServerConfig& config);

// Fails as the backend does, naming the model's folder.
absl::StatusOr<std::unique_ptr<model::ImageModel>> LoadModel(
    const ServingPlan& plan);

}  // namespace heatkv::server

#endif  // SERVER_LOAD_MODEL_H_
