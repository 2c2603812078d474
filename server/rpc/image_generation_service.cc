#include "server/rpc/image_generation_service.h"

#include <utility>

#include "absl/time/clock.h"
#include "server/rpc/capabilities.h"
#include "server/rpc/generation_call.h"

namespace heatkv::server {
namespace {

absl::Duration TimeLeft(const grpc::CallbackServerContext& context) {
  return absl::FromChrono(context.deadline()) - absl::Now();
}

class StreamCall final
    : public GenerationCall,
      public grpc::ServerWriteReactor<v1::GenerateImageEvent> {
 public:
  explicit StreamCall(const CallServices* services)
      : GenerationCall(services, "GenerateImageStream", true) {}

  // Until gRPC is done with it, the call keeps itself alive.
  void KeepAlive(std::shared_ptr<StreamCall> self) { self_ = std::move(self); }

  void OnWriteDone(bool ok) override { OnWritten(ok); }
  void OnCancel() override { CancelByClient(); }
  void OnDone() override { const auto self = std::move(self_); }

 private:
  bool Write(v1::GenerateImageEvent event) override {
    written_ = std::move(event);
    StartWrite(&written_);
    return false;
  }
  void Close(const grpc::Status& status) override { Finish(status); }

  v1::GenerateImageEvent written_;
  std::shared_ptr<StreamCall> self_;
};

class UnaryCall final : public GenerationCall, public grpc::ServerUnaryReactor {
 public:
  UnaryCall(const CallServices* services, v1::GenerateImageResponse* response)
      : GenerationCall(services, "GenerateImage", false), response_(response) {}

  void KeepAlive(std::shared_ptr<UnaryCall> self) { self_ = std::move(self); }

  void OnCancel() override { CancelByClient(); }
  void OnDone() override { const auto self = std::move(self_); }

 private:
  bool Write(v1::GenerateImageEvent event) override {
    if (event.has_image()) {
      *response_->add_images() = std::move(*event.mutable_image());
    } else if (event.has_completed()) {
      *response_->mutable_usage() = event.completed().usage();
    } else if (event.has_accepted()) {
      response_->set_request_id(event.accepted().request_id());
    }
    return true;
  }
  void Close(const grpc::Status& status) override { Finish(status); }

  v1::GenerateImageResponse* response_;
  std::shared_ptr<UnaryCall> self_;
};

}  // namespace

ImageGenerationService::ImageGenerationService(const CallServices* services,
                                               absl::Duration heartbeat)
    : services_(services), heartbeats_(heartbeat) {}

grpc::ServerUnaryReactor* ImageGenerationService::GenerateImage(
    grpc::CallbackServerContext* context,
    const v1::GenerateImageRequest* request,
    v1::GenerateImageResponse* response) {
  const auto call = std::make_shared<UnaryCall>(services_, response);
  call->KeepAlive(call);
  call->Start(*request, context->peer(), TimeLeft(*context));
  return call.get();
}

grpc::ServerWriteReactor<v1::GenerateImageEvent>*
ImageGenerationService::GenerateImageStream(
    grpc::CallbackServerContext* context,
    const v1::GenerateImageRequest* request) {
  const auto call = std::make_shared<StreamCall>(services_);
  call->KeepAlive(call);
  heartbeats_.Add(call);
  call->Start(*request, context->peer(), TimeLeft(*context));
  return call.get();
}

grpc::ServerUnaryReactor* ImageGenerationService::GetCapabilities(
    grpc::CallbackServerContext* context, const v1::GetCapabilitiesRequest*,
    v1::GetCapabilitiesResponse* response) {
  *response = DescribeCapabilities(*services_);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  CallRecord record;
  record.rpc = "GetCapabilities";
  record.peer = context->peer();
  services_->observer->OnCall(record);
  return reactor;
}

}  // namespace heatkv::server
