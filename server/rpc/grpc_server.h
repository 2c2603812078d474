// The listening gRPC server: the public service, health (grpc.health.v1, for
// "" and for heatkv.v1.ImageGeneration) and, if wanted, reflection.
//
// Thread safety: any thread.

#ifndef SERVER_RPC_GRPC_SERVER_H_
#define SERVER_RPC_GRPC_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/server.h"
#include "server/rpc/image_generation_service.h"

namespace heatkv::server {

class GrpcServer {
 public:
  // Listens at `address` (host:port; port 0 takes a free one) and serves.
  // `service` must outlive the server.  Fails with Unavailable, naming the
  // address, if it cannot listen there.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(
      const std::string& address, bool reflection,
      ImageGenerationService* service);

  // Shuts down at once if that was not done before.
  ~GrpcServer();

  int port() const { return port_; }

  // What health checks answer from now on.
  void SetServing(bool serving);

  // Takes no new call, lets those in flight end until `deadline`, cancels the
  // rest, and returns when none is left.
  void Shutdown(absl::Time deadline);

 private:
  GrpcServer() = default;

  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_GRPC_SERVER_H_
