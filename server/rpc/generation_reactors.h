// The two calls that make images and answer over gRPC: a stream of events, and
// one response with everything.
//
// Thread safety: see GenerationCall.  gRPC calls the reactions.

#ifndef SERVER_RPC_GENERATION_REACTORS_H_
#define SERVER_RPC_GENERATION_REACTORS_H_

#include <memory>

#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/generation_call.h"

namespace heatkv::server {

class StreamCall final
    : public GenerationCall,
      public grpc::ServerWriteReactor<v1::GenerateImageEvent> {
 public:
  StreamCall(const CallServices* services, grpc::CallbackServerContext* context)
      : GenerationCall(services, "GenerateImageStream", Reader::kStream),
        context_(context) {}

  // Until gRPC is done with it, the call keeps itself alive.
  void KeepAlive(std::shared_ptr<StreamCall> self) { self_ = std::move(self); }

  void OnWriteDone(bool ok) override { OnWritten(ok); }
  void OnCancel() override { CancelByClient(); }
  void OnDone() override { const auto self = std::move(self_); }

 private:
  bool Write(v1::GenerateImageEvent event) override;
  void Close(const grpc::Status& status) override { Finish(status); }
  // The context lives until OnDone, which does not come before the write that
  // is abandoned is done.
  void Abandon() override { context_->TryCancel(); }

  grpc::CallbackServerContext* const context_;
  v1::GenerateImageEvent written_;
  std::shared_ptr<StreamCall> self_;
};

class UnaryCall final : public GenerationCall, public grpc::ServerUnaryReactor {
 public:
  UnaryCall(const CallServices* services, v1::GenerateImageResponse* response)
      : GenerationCall(services, "GenerateImage", Reader::kOnce),
        response_(response) {}

  void KeepAlive(std::shared_ptr<UnaryCall> self) { self_ = std::move(self); }

  void OnCancel() override { CancelByClient(); }
  void OnDone() override { const auto self = std::move(self_); }

 private:
  bool Write(v1::GenerateImageEvent event) override;
  void Close(const grpc::Status& status) override;

  v1::GenerateImageResponse* const response_;
  std::shared_ptr<UnaryCall> self_;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_GENERATION_REACTORS_H_
