// heatkv.v1.Admin over gRPC's callback interface.  Answers come from a thread
// of its own, so that neither gRPC's threads nor the engine's wait for what an
// operator asks.
//
// Thread safety: gRPC calls the methods from its own threads.

#ifndef SERVER_RPC_ADMIN_SERVICE_H_
#define SERVER_RPC_ADMIN_SERVICE_H_

#include <functional>

#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "heatkv/v1/admin.grpc.pb.h"
#include "server/engine/engine.h"
#include "server/engine/flight_recorder.h"
#include "server/rpc/admin_interface.h"
#include "server/rpc/worker_pool.h"

namespace heatkv::server {

class AdminService final : public v1::Admin::CallbackService {
 public:
  // What is pointed to must outlive the service.
  AdminService(AdminActions actions, Engine* engine,
               const FlightRecorder* recorder);

  grpc::ServerUnaryReactor* GetPool(grpc::CallbackServerContext* context,
                                    const v1::GetPoolRequest* request,
                                    v1::PoolView* response) override;

  grpc::ServerWriteReactor<v1::PoolView>* WatchPool(
      grpc::CallbackServerContext* context,
      const v1::WatchPoolRequest* request) override;

  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* context,
                                  const v1::DrainRequest* request,
                                  v1::DrainResponse* response) override;

  grpc::ServerUnaryReactor* Undrain(grpc::CallbackServerContext* context,
                                    const v1::UndrainRequest* request,
                                    v1::UndrainResponse* response) override;

  grpc::ServerUnaryReactor* ApplyConfig(
      grpc::CallbackServerContext* context,
      const v1::ApplyConfigRequest* request,
      v1::ApplyConfigResponse* response) override;

  grpc::ServerUnaryReactor* SetLogLevel(
      grpc::CallbackServerContext* context,
      const v1::SetLogLevelRequest* request,
      v1::SetLogLevelResponse* response) override;

  grpc::ServerUnaryReactor* ListRequests(
      grpc::CallbackServerContext* context,
      const v1::ListRequestsRequest* request,
      v1::ListRequestsResponse* response) override;

 private:
  // Ends the call with what `answer` returns.
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context,
                                   std::function<absl::Status()> answer);

  const AdminActions actions_;
  Engine* const engine_;
  const FlightRecorder* const recorder_;
  WorkerPool workers_;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_ADMIN_SERVICE_H_
