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
  std::string tenant;
  std::string tier;  // granted; empty if the request named none that exists
  absl::Status status;
  absl::Duration took;
  int images_asked = 0;
  RequestUsage usage;
  std::map<std::string, std::string> tags;
};

// Why a request ended before its last image.
enum class EndCause { kClient, kDeadline, kStall, kShutdown, kFailure };

// "client", "deadline", ...
const char* EndCauseName(EndCause cause);

// Why a request was not taken.
enum class Refusal {
  kQueueFull,
  kBytesFull,
  kDeadline,
  kNeverFits,
  kDraining,
  kModelUnwell
};

// "queue_full", "bytes_full", ...
const char* RefusalName(Refusal refusal);

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
  // One step computed this many images together.
  virtual void OnStep(int /*images*/) {}
  // From the arrival of a request to its first preview, or first image if it
  // had none.
  virtual void OnFirstPicture(absl::Duration /*took*/) {}
  // From the moment when a request was over (cancelled, late, failed) until all
  // its blocks were back in the pool.
  virtual void OnRelease(EndCause /*cause*/, absl::Duration /*took*/) {}
  virtual void OnRefusal(Refusal /*refusal*/) {}
  // A request started on a lower tier than it asked for.
  virtual void OnLowerTier() {}
  // Bytes held times seconds that a tenant was charged for a started image.
  virtual void OnCharge(const std::string& /*tenant*/,
                        double /*byte_seconds*/) {}
  // No model can compute any more, for this reason; or, with OK, one can again.
  virtual void OnModelHealth(const absl::Status& /*status*/) {}
  // The same of one of several devices.
  virtual void OnDeviceHealth(const std::string& /*device*/,
                              const absl::Status& /*status*/) {}
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_OBSERVER_H_
