// From a configuration to a server that serves, and back: the order in which
// the parts come up and go down, and who tells whom.  Knows every part and does
// nothing that one of them could do.
//
// Thread safety: one thread starts, waits for and stops a server; Drain and
// Undrain may be called from any thread in between.

#ifndef SERVER_STARTUP_H_
#define SERVER_STARTUP_H_

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/call_log.h"
#include "server/engine/engine.h"
#include "server/engine/flight_recorder.h"
#include "server/live_config.h"
#include "server/log/event_log.h"
#include "server/metrics/metrics_endpoint.h"
#include "server/rpc/admin_interface.h"
#include "server/rpc/public_interface.h"
#include "server/serving_plan.h"

namespace heatkv::server {

// Health checks are answered NOT_SERVING while the server drains or stops, or
// while its model cannot compute on any device; the log says why.
class RunningServer {
 public:
  // Loads the model on every device, then listens.  `command_line` writes what
  // the command line decides over a configuration that comes later
  // (LiveConfigOptions).  `log` must outlive the server; `fault` is set if it
  // fails.
  static absl::StatusOr<std::unique_ptr<RunningServer>> Start(
      ServingPlan plan, const std::string& version,
      std::function<void(ServerConfig*)> command_line, EventLog* log,
      StartFault* fault);

  // Ends what is left.  Not after Stop returned false.
  ~RunningServer();

  int port() const { return interface_->port(); }
  int metrics_port() const { return metrics_->port(); }
  int admin_port() const { return admin_->port(); }

  // Answers NOT_SERVING to health checks and takes no more requests until
  // Undrain; what was accepted goes on.  Undrain fails once the server is being
  // stopped.
  absl::Status Drain();
  absl::Status Undrain();

  // As Drain, for good: requests in flight may finish until `deadline`.  May be
  // called again to bring the deadline forward.
  void BeginStop(absl::Time deadline);

  // Whether every request has ended; waits for it at most `timeout`.
  bool AwaitIdle(absl::Duration timeout) const;

  // Ends what is left and stops listening.  False if something is stuck: then
  // the process should exit at once, without destroying the server.
  bool Stop();

 private:
  RunningServer() = default;

  // With mutex_ held: health checks answer what is so now.
  void UpdateServing(const std::string& reason);
  // On the thread of a device.
  void OnModelHealth(const absl::Status& status);
  AdminActions MakeAdminActions();

  EventLog* log_ = nullptr;
  SystemClock clock_;
  std::unique_ptr<MetricsEndpoint> metrics_;
  std::unique_ptr<FlightRecorder> recorder_;
  std::unique_ptr<CallLog> calls_;
  std::unique_ptr<ServerObserver> health_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<PublicInterface> interface_;
  std::unique_ptr<LiveConfig> live_config_;
  std::unique_ptr<AdminInterface> admin_;
  std::mutex mutex_;  // guards what follows, held while it changes
  bool is_draining_ = false;
  bool is_stopping_ = false;  // Drain and Undrain do nothing any more
  bool is_well_ = true;       // the model
};

}  // namespace heatkv::server

#endif  // SERVER_STARTUP_H_
