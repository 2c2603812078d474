// One request to a server, run to its end: events go to whoever wants to see
// them, pictures into files.
//
// Thread safety: stateless; many may run at once over one connection.

#ifndef CLIENT_GENERATION_H_
#define CLIENT_GENERATION_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/connection.h"
#include "grpcpp/support/status.h"
#include "heatkv/v1/image_generation.pb.h"
#include "nlohmann/json.hpp"

namespace heatkv::client {

struct Generated {
  struct Picture {
    std::filesystem::path file;
    v1::Image image;  // without its bytes
  };
  std::string request_id;
  // Differ only if the request's memory policy allowed it.
  std::string asked_tier, granted_tier;
  std::vector<Picture> pictures;  // by index
  v1::Usage usage;
  grpc::Status status;
  absl::Status file_status;  // of writing, if the call itself was good
};

// Runs the request as a stream and writes its pictures to `out`
// (client/picture_files.h), previews beside them.  Calls `on_event` for every
// event, on this thread.  `timeout` bounds the whole call.
Generated Generate(
    const Connection& connection, const v1::GenerateImageRequest& request,
    const std::filesystem::path& out, absl::Duration timeout,
    const std::function<void(const v1::GenerateImageEvent&)>& on_event);

// The same for a job that was submitted before: its events from `after` on.
Generated WatchJob(
    const Connection& connection, const std::string& job_id,
    std::uint64_t after, const std::filesystem::path& out, int images,
    absl::Duration timeout,
    const std::function<void(const v1::GenerateImageEvent&)>& on_event);

// What --json prints: request_id, the granted tier, usage and for each image
// its file, SHA-256 and recipe.
nlohmann::ordered_json ToJson(const Generated& generated);

}  // namespace heatkv::client

#endif  // CLIENT_GENERATION_H_
