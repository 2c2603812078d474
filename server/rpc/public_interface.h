// The public interface of a running engine, listening over gRPC.  Owns the
// gRPC server, its service and the threads that encode pictures.
//
// This header shows no gRPC type, so that a program can use it beside other
// libraries.
//
// Thread safety: any thread.

#ifndef SERVER_RPC_PUBLIC_INTERFACE_H_
#define SERVER_RPC_PUBLIC_INTERFACE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/engine/clock.h"
#include "server/engine/engine.h"
#include "server/engine/observer.h"

namespace heatkv::server {

// How long and how much of ended jobs is kept.  Jobs that run are always kept.
struct JobOptions {
  int max_jobs = 256;  // 1 or more, running ones included
  // Of encoded pictures; a running job counts with what its pictures may take.
  std::int64_t max_bytes = std::int64_t{1} << 30;
  absl::Duration ttl = absl::Minutes(10);  // from a job's end
  // Where pictures lie as files until they are forgotten; made if it does not
  // exist.  Empty: in memory.
  std::string folder;
};

struct PublicInterfaceOptions {
  std::string listen;  // host:port; port 0 takes a free one
  bool reflection = true;
  std::string default_tier;  // exists in the engine's book
  int max_images = 10;
  int max_prompt_bytes = 4096;
  absl::Duration max_request_time = absl::Minutes(10);
  absl::Duration heartbeat = absl::Seconds(10);
  // A stream whose client reads nothing for so long is ended.
  absl::Duration stall_timeout = absl::Seconds(10);
  // No further image of a stream starts while more bytes of finished ones than
  // this wait to be sent.
  std::int64_t outbox_bytes = std::int64_t{8} << 20;
  JobOptions jobs;
  int encoder_threads = 2;
  std::string server_version;
  std::string model_sha256;
  std::function<std::string(absl::string_view)> sha256;  // in hex; any thread
};

class PublicInterface {
 public:
  // What is pointed to must outlive the interface.  Fails with Unavailable,
  // naming the address, if it cannot listen there, and with InvalidArgument,
  // naming the folder, if pictures of jobs cannot be written there.
  static absl::StatusOr<std::unique_ptr<PublicInterface>> Start(
      const PublicInterfaceOptions& options, Engine* engine,
      ServerObserver* observer, const Clock* clock);
  ~PublicInterface();

  int port() const;

  // What health checks answer from now on.
  void SetServing(bool serving);

  // Calls `reconfigure`, which brings the engine to other schedules, and, if it
  // succeeds, makes `default_tier`, which exists in them, the tier of requests
  // that name none.  No request sees the one change without the other.
  absl::Status ChangeTiers(std::string default_tier,
                           const std::function<absl::Status()>& reconfigure);

  // Takes no new call, lets those in flight end until `deadline`, cancels the
  // rest, and returns when none is left, 2 s after the deadline at the latest.
  // Whether none is left.  If some are, which is a bug, nothing that the
  // interface uses may be destroyed: the process should exit at once.
  bool Shutdown(absl::Time deadline);

 private:
  struct State;
  explicit PublicInterface(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_PUBLIC_INTERFACE_H_
