// From a configuration to a server that serves, and back: the order in which
// the parts come up and go down.  Knows every part and does nothing that one of
// them could do.
//
// Thread safety: one thread starts, waits for and stops a server.

#ifndef SERVER_STARTUP_H_
#define SERVER_STARTUP_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/call_log.h"
#include "server/config/server_config.h"
#include "server/engine/engine.h"
#include "server/log/event_log.h"
#include "server/metrics/metrics_endpoint.h"
#include "server/model_folder.h"
#include "server/rpc/public_interface.h"

namespace heatkv::server {

// Why a server did not start, by who can mend it.
enum class StartFault { kConfiguration, kModel };

// What a configuration means for a model, before any weight is loaded.
struct ServingPlan {
  ServerConfig config;
  ModelFolder folder;
  ScheduleBook book;
  std::int64_t pool_blocks = 0;
};

// `fault` is set if it fails.
absl::StatusOr<ServingPlan> MakeServingPlan(const ServerConfig& config,
                                            StartFault* fault);

class RunningServer {
 public:
  // Loads the model, then listens.  `log` must outlive the server; `fault` is
  // set if it fails.
  static absl::StatusOr<std::unique_ptr<RunningServer>> Start(
      ServingPlan plan, const std::string& version, EventLog* log,
      StartFault* fault);
  ~RunningServer();

  int port() const { return interface_->port(); }
  int metrics_port() const { return metrics_->port(); }

  // Answers NOT_SERVING to health checks and takes no more requests; those in
  // flight may finish until `deadline`.  May be called again to bring the
  // deadline forward.
  void BeginDrain(absl::Time deadline);

  // Whether every request has ended; waits for it at most `timeout`.
  bool AwaitIdle(absl::Duration timeout) const;

 private:
  RunningServer() = default;

  SystemClock clock_;
  std::unique_ptr<MetricsEndpoint> metrics_;
  std::unique_ptr<CallLog> calls_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<PublicInterface> interface_;
};

}  // namespace heatkv::server

#endif  // SERVER_STARTUP_H_
