// The operator's interface of a running engine (heatkv.v1.Admin), listening
// over gRPC on a port of its own.  Health checks there answer SERVING for ""
// and "heatkv.v1.Admin" as long as it listens (the process lives), and for
// "heatkv.v1.ImageGeneration" what the public interface says (it takes
// requests).
//
// It decides nothing: what changes the server is done by functions that the
// program injects.
//
// This header shows no gRPC type, so that a program can use it beside other
// libraries.
//
// Thread safety: any thread.

#ifndef SERVER_RPC_ADMIN_INTERFACE_H_
#define SERVER_RPC_ADMIN_INTERFACE_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/engine.h"
#include "server/engine/flight_recorder.h"
#include "server/engine/observer.h"

namespace heatkv::server {

struct KeyChange {
  std::string key;
  std::string before;
  std::string after;
};

struct AppliedConfig {
  std::vector<KeyChange> changes;
  std::string capacity;
  bool applied = false;
};

// What an operator can make the server do.  Called from any thread.
struct AdminActions {
  std::function<absl::Status()> drain;
  std::function<absl::Status()> undrain;
  std::function<absl::StatusOr<AppliedConfig>(const std::string& yaml,
                                              bool dry_run)>
      apply_config;
  // Returns the level before.
  std::function<absl::StatusOr<std::string>(const std::string& level)>
      set_log_level;
};

struct AdminInterfaceOptions {
  std::string listen;  // host:port; port 0 takes a free one
  bool reflection = true;
  AdminActions actions;
};

class AdminInterface {
 public:
  // What is pointed to must outlive the interface.  Fails with Unavailable,
  // naming the address, if it cannot listen there.
  static absl::StatusOr<std::unique_ptr<AdminInterface>> Start(
      AdminInterfaceOptions options, Engine* engine,
      const FlightRecorder* recorder);
  ~AdminInterface();

  int port() const;

  // Whether the public interface takes requests, for health checks.
  void SetServing(bool serving);

  // Ends all calls; see PublicInterface::Shutdown.
  bool Shutdown(absl::Time deadline);

 private:
  struct State;
  explicit AdminInterface(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_ADMIN_INTERFACE_H_
