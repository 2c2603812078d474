// heatkv.v1.ImageGeneration over gRPC's callback interface: each method makes a
// call object and lets it go, or answers at once.  No logic of its own.
//
// Thread safety: gRPC calls the methods from its own threads.

#ifndef SERVER_RPC_IMAGE_GENERATION_SERVICE_H_
#define SERVER_RPC_IMAGE_GENERATION_SERVICE_H_

#include <memory>
#include <string>

#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "heatkv/v1/image_generation.grpc.pb.h"
#include "server/rpc/call_services.h"
#include "server/rpc/job_book.h"
#include "server/rpc/result_store.h"
#include "server/rpc/stream_watch.h"

namespace heatkv::server {

class ImageGenerationService final
    : public v1::ImageGeneration::CallbackService {
 public:
  // What is pointed to must outlive the service.
  ImageGenerationService(const CallServices* services, JobBook* jobs,
                         ResultStore* results);

  grpc::ServerUnaryReactor* GenerateImage(
      grpc::CallbackServerContext* context,
      const v1::GenerateImageRequest* request,
      v1::GenerateImageResponse* response) override;

  grpc::ServerWriteReactor<v1::GenerateImageEvent>* GenerateImageStream(
      grpc::CallbackServerContext* context,
      const v1::GenerateImageRequest* request) override;

  grpc::ServerUnaryReactor* EstimateImage(
      grpc::CallbackServerContext* context,
      const v1::EstimateImageRequest* request,
      v1::EstimateImageResponse* response) override;

  grpc::ServerUnaryReactor* SubmitImage(grpc::CallbackServerContext* context,
                                        const v1::SubmitImageRequest* request,
                                        v1::ImageJob* response) override;

  grpc::ServerWriteReactor<v1::GenerateImageEvent>* WatchImageJob(
      grpc::CallbackServerContext* context,
      const v1::WatchImageJobRequest* request) override;

  grpc::ServerUnaryReactor* GetImageJob(grpc::CallbackServerContext* context,
                                        const v1::GetImageJobRequest* request,
                                        v1::ImageJob* response) override;

  grpc::ServerUnaryReactor* CancelImageJob(
      grpc::CallbackServerContext* context,
      const v1::CancelImageJobRequest* request,
      v1::ImageJob* response) override;

  grpc::ServerUnaryReactor* GetCapabilities(
      grpc::CallbackServerContext* context,
      const v1::GetCapabilitiesRequest* request,
      v1::GetCapabilitiesResponse* response) override;

 private:
  // Reports the end of a call of which nothing but its status is known.
  void Report(const grpc::CallbackServerContext& context,
              const std::string& rpc, const grpc::Status& status);
  // Ends such a call, and reports it.
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context,
                                   const std::string& rpc,
                                   const grpc::Status& status);

  const CallServices* const services_;
  JobBook* const jobs_;
  ResultStore* const results_;
  StreamWatch streams_;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_IMAGE_GENERATION_SERVICE_H_
