// What every call of the public interface works with.  Made once by the
// interface; outlives all calls.

#ifndef SERVER_RPC_CALL_SERVICES_H_
#define SERVER_RPC_CALL_SERVICES_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/engine/clock.h"
#include "server/engine/engine.h"
#include "server/engine/observer.h"
#include "server/rpc/call_count.h"
#include "server/rpc/request_rules.h"
#include "server/rpc/worker_pool.h"

namespace heatkv::server {

struct CallServices {
  Engine* engine = nullptr;
  WorkerPool* encoders = nullptr;
  CallCount* calls = nullptr;
  ServerObserver* observer = nullptr;
  const Clock* clock = nullptr;
  RequestRules rules;
  std::string server_version;
  std::string model_sha256;
  std::function<std::string(absl::string_view)> sha256;  // in hex; any thread
  // Of a call whose client set no deadline or a later one.
  absl::Duration max_request_time = absl::Minutes(10);
  // See PublicInterfaceOptions.
  absl::Duration heartbeat = absl::Seconds(10);
  absl::Duration stall_timeout = absl::Seconds(10);
  std::int64_t outbox_bytes = std::int64_t{8} << 20;
  // While pictures of more bytes wait to be encoded, previews are left out and
  // no further image is started: the model is faster than the encoders.
  std::int64_t backlog_bytes = std::int64_t{64} << 20;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_CALL_SERVICES_H_
