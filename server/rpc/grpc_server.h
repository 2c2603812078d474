// A listening gRPC server for one service, with health (grpc.health.v1, for ""
// and for the service's name) and, if wanted, reflection.
//
// Thread safety: any thread.

#ifndef SERVER_RPC_GRPC_SERVER_H_
#define SERVER_RPC_GRPC_SERVER_H_

#include <future>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/impl/service_type.h"
#include "grpcpp/server.h"

namespace heatkv::server {

struct GrpcServerOptions {
  std::string address;  // host:port; port 0 takes a free one
  bool reflection = true;
  std::string service_name;  // "heatkv.v1.ImageGeneration", for health checks
  // A connection that has grown old is asked to reconnect, so that load spreads
  // over new servers, and its calls have this long to end.
  absl::Duration longest_call = absl::Minutes(11);
};

class GrpcServer {
 public:
  // Listens and serves.  `service` must outlive the server.  Fails with
  // Unavailable, naming the address, if it cannot listen there.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(
      const GrpcServerOptions& options, grpc::Service* service);

  // Shuts down at once if that was not done before.
  ~GrpcServer();

  int port() const { return port_; }

  // What health checks answer from now on: all of them, or those for one name.
  void SetServing(bool serving);
  void SetServing(const std::string& name, bool serving);

  // Takes no new call, lets those in flight end until `deadline`, cancels the
  // rest and waits for their ends, but not longer than `grace`.  Whether all
  // ended; a second call waits for what did not end in the first.  If not (gRPC
  // itself would wait for ever), calls are still using the service: it must be
  // left as it is until the process exits.
  bool Shutdown(absl::Time deadline, absl::Duration grace = absl::Seconds(2));

 private:
  explicit GrpcServer(std::string service_name)
      : service_name_(std::move(service_name)) {}

  const std::string service_name_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  std::future<void> ended_;  // of every call, once Shutdown was called
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_GRPC_SERVER_H_
