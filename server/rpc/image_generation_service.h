// heatkv.v1.ImageGeneration over gRPC's callback interface: each method makes a
// call object and lets it go.  No logic of its own.
//
// Thread safety: gRPC calls the methods from its own threads.

#ifndef SERVER_RPC_IMAGE_GENERATION_SERVICE_H_
#define SERVER_RPC_IMAGE_GENERATION_SERVICE_H_

#include <memory>

#include "absl/time/time.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "heatkv/v1/image_generation.grpc.pb.h"
#include "server/rpc/call_services.h"
#include "server/rpc/heartbeats.h"

namespace heatkv::server {

class ImageGenerationService final
    : public v1::ImageGeneration::CallbackService {
 public:
  // `services` must outlive the service.  Streams that say nothing for
  // `heartbeat` send a sign of life.
  ImageGenerationService(const CallServices* services,
                         absl::Duration heartbeat);

  grpc::ServerUnaryReactor* GenerateImage(
      grpc::CallbackServerContext* context,
      const v1::GenerateImageRequest* request,
      v1::GenerateImageResponse* response) override;

  grpc::ServerWriteReactor<v1::GenerateImageEvent>* GenerateImageStream(
      grpc::CallbackServerContext* context,
      const v1::GenerateImageRequest* request) override;

  grpc::ServerUnaryReactor* GetCapabilities(
      grpc::CallbackServerContext* context,
      const v1::GetCapabilitiesRequest* request,
      v1::GetCapabilitiesResponse* response) override;

 private:
  const CallServices* const services_;
  Heartbeats heartbeats_;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_IMAGE_GENERATION_SERVICE_H_
