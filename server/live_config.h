// The configuration that a running server has, and its change without a
// restart.
//
// A change is the whole configuration anew.  It happens completely or not at
// all, and nothing that runs is touched: tiers count for requests that come
// later, limits for who starts next, and a smaller pool as blocks come back.
//
// Thread safety: any thread; changes happen one after the other.

#ifndef SERVER_LIVE_CONFIG_H_
#define SERVER_LIVE_CONFIG_H_

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/config/config_entries.h"
#include "server/config/server_config.h"
#include "server/engine/engine.h"
#include "server/log/event_log.h"
#include "server/model_folder.h"

namespace heatkv::server {

// A change, done or considered.
struct ConfigOutcome {
  std::vector<ConfigDifference> changes;
  std::string capacity;  // what the pool would hold (server/config/capacity.h)
  bool applied = false;
};

struct LiveConfigOptions {
  ServerConfig config;            // that the engine was started with
  std::int64_t device_bytes = 0;  // of memory
  ModelFolder folder;
  // Writes what the command line decides over what a file says; empty: nothing.
  std::function<void(ServerConfig*)> command_line;
  // Does the engine's part of a change, `reconfigure`, together with what
  // depends on it elsewhere; empty: does only that.
  std::function<absl::Status(const ServerConfig& config,
                             const std::function<absl::Status()>& reconfigure)>
      change;
  // Told of every change, after the engine has it, before another one begins.
  std::function<void(const ServerConfig&)> on_change;
};

class LiveConfig {
 public:
  // Sets the log's level.  Both must outlive it.
  LiveConfig(LiveConfigOptions options, Engine* engine, EventLog* log);

  // Brings the server to the configuration in `yaml`; with `dry_run` only says
  // what that would mean.  Fails alike with and without it:
  //   InvalidArgument     every mistake of the text, with line and column; a
  //                       tier that the model cannot have
  //   FailedPrecondition  every key that needs a restart and differs; a pool
  //                       larger than what was allocated, with both numbers
  absl::StatusOr<ConfigOutcome> Apply(const std::string& yaml, bool dry_run);

  // The level before.  InvalidArgument if there is no such level.
  absl::StatusOr<std::string> SetLogLevel(absl::string_view level);

  ServerConfig Current() const;

 private:
  absl::Status CheckChanges(const std::vector<ConfigDifference>& changes) const;
  void Adopt(ServerConfig config);  // with mutex_ held

  const LiveConfigOptions options_;
  Engine* const engine_;
  EventLog* const log_;
  mutable std::mutex mutex_;
  ServerConfig config_;
};

}  // namespace heatkv::server

#endif  // SERVER_LIVE_CONFIG_H_
