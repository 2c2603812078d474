// What a server tells whoever watches it: metrics and logs implement this.
// Plain values, so that the engine knows neither Prometheus nor a log format.
//
// Thread safety: implementations are called from the engine thread and from
// the threads of the protocol at once, and must not block.

#ifndef SERVER_ENGINE_OBSERVER_H_
#define SERVER_ENGINE_OBSERVER_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/engine/request.h"

namespace heatkv::server {

enum class Stage { kQueue, kText, kScales, kDecode, kEncode };

// "queue", "text", ...
const char* StageName(Stage stage);

// One finished call of the public interface, refused ones included.
struct CallRecord {
  std::string rpc;  // "GenerateImage"
  std::string request_id;
  std::string peer;
  std::string tier;  // empty if the request named none that exists
  absl::Status status;
  absl::Duration took;
  int images_asked = 0;
  RequestUsage usage;
  std::map<std::string, std::string> tags;
};

class ServerObserver {
 public:
  virtual ~ServerObserver() = default;

  virtual void OnCall(const CallRecord& call) = 0;
  // Time spent in one stage of one image (of one request: queue and text).
  virtual void OnStage(Stage stage, absl::Duration took) = 0;
  // One scale (0-based) of one image was computed.
  virtual void OnScale(int scale, absl::Duration took) = 0;
  // One image ended; OK if it was handed over.
  virtual void OnImage(const std::string& tier, const absl::Status& status) = 0;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_OBSERVER_H_
