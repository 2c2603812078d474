// One call that makes images, from its request to its status: judges the
// request, submits it to the engine, turns the engine's events into messages,
// has pictures encoded, and hands the messages out one at a time.
//
// Two classes derive from it: StreamCall writes the messages to a stream,
// UnaryCall gathers images into one response.  A call is shared by gRPC (until
// OnDone), the engine (as its sink) and encoding jobs; the last to let go
// destroys it.  Close is called exactly once, and nothing is written after it.
//
// Thread safety: every public method may be called from any thread.  Lock
// order: the engine's lock before a call's, so no method calls the engine with
// its lock held.

#ifndef SERVER_RPC_GENERATION_CALL_H_
#define SERVER_RPC_GENERATION_CALL_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "grpcpp/support/status.h"
#include "heatkv/v1/image_generation.pb.h"
#include "server/engine/observer.h"
#include "server/engine/request.h"
#include "server/rpc/call_services.h"
#include "server/rpc/outbox.h"
#include "server/rpc/request_rules.h"

namespace heatkv::server {

class GenerationCall : public EventSink,
                       public std::enable_shared_from_this<GenerationCall> {
 public:
  // Begins the call; once.  `time_left` until the client's deadline.
  void Start(const v1::GenerateImageRequest& request, std::string peer,
             absl::Duration time_left);

  // The client cancelled or is gone.
  void CancelByClient();

  // Sends a sign of life, if nothing was sent for `silence`.
  void Heartbeat(absl::Duration silence);

  void OnEvent(EngineEvent event) override;
  void OnFinished(const absl::Status& status,
                  const RequestUsage& usage) override;

 protected:
  GenerationCall(const CallServices* services, std::string rpc, bool streams);

  // Called with the lock held, one at a time.  True if the event is written at
  // once; else OnWritten is called when it is.
  virtual bool Write(v1::GenerateImageEvent event) = 0;
  virtual void Close(const grpc::Status& status) = 0;

  void OnWritten(bool ok);

 private:
  void Push(v1::GenerateImageEvent event);
  void Pump();
  void EndWith(const absl::Status& status, const grpc::Status& wire);
  void EncodeLater(int image, int scale, model::RgbImage picture,
                   bool is_preview);
  void Encode(std::uint64_t place, int image, int scale,
              const model::RgbImage& picture, bool is_preview);
  void EncodingFailed(const absl::Status& status);
  v1::Recipe MakeRecipe(int image) const;
  v1::Usage MakeUsage() const;
  v1::GenerateImageEvent NewEvent() const;

  const CallServices* const services_;
  const std::string rpc_;
  const bool streams_;
  const absl::Time arrived_;

  // Written by Start before anybody else sees the call.
  std::string peer_;
  ResolvedRequest asked_;
  int images_asked_ = 0;

  // Guards all that follows; held by the private methods without a word.
  std::mutex mutex_;
  Outbox outbox_;
  std::uint64_t number_ = 0;  // the engine's; 0: none
  bool cancelled_ = false;
  bool is_writing_ = false;
  bool completed_ = false;
  bool closed_ = false;
  absl::Time last_event_;
  absl::Duration encode_took_;
  RequestUsage usage_;
  // Set once the outcome is known.
  std::optional<absl::Status> end_;
  grpc::Status wire_end_;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_GENERATION_CALL_H_
