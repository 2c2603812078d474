// One call that makes images, from its request to its status: judges the
// request, submits it to the engine, turns the engine's events into messages,
// has pictures encoded, and hands the messages out one at a time.
//
// Three classes derive from it: StreamCall writes the messages to a stream,
// UnaryCall gathers images into one response, JobCall puts them into the record
// of a job.  A call is shared by gRPC (until OnDone), the engine (as its sink)
// and encoding jobs; the last to let go destroys it.  Close is called exactly
// once, and nothing is written after it.
//
// A client that is gone is not waited for: the call closes at once, whatever
// the engine does, and a reader who stalls is given up after a while
// (server/rpc/reader_patience.h).  In both cases the engine is told.
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
#include "server/rpc/reader_patience.h"
#include "server/rpc/request_rules.h"
#include "server/rpc/stream_watch.h"

namespace heatkv::server {

class GenerationCall : public EventSink,
                       public WatchedStream,
                       public std::enable_shared_from_this<GenerationCall> {
 public:
  ~GenerationCall() override;

  // Begins the call; once.  `time_left` until the client's deadline.  Whether
  // the engine took it; if not, it has been closed with the reason.
  bool Start(const v1::GenerateImageRequest& request, std::string peer,
             absl::Duration time_left);

  // The two halves of Start.  Judge closes the call and is false if something
  // is wrong with the request; what is right about it is then in asked().
  bool Judge(const v1::GenerateImageRequest& request, std::string peer);
  bool Submit(absl::Duration time_left);

  // The request as it was judged.
  const ResolvedRequest& asked() const { return asked_; }

  // The client cancelled or is gone.
  void CancelByClient();

  // Ends the request, but not the call: what is done is still handed over.
  void CancelRequest();

  // Sends a sign of life or ends the call if its time has come.
  void LookAfter() override;

  void OnEvent(EngineEvent event) override;
  bool WantsMore() const override;
  void OnFinished(const absl::Status& status,
                  const RequestUsage& usage) override;

 protected:
  enum class Reader {
    kOnce,    // gets all at the end
    kStream,  // gets events as they come
    kRecord,  // keeps events for others; is told of no end before the engine's
  };

  GenerationCall(const CallServices* services, std::string rpc, Reader reader);

  // Called with the lock held, one at a time.  True if the event is written at
  // once; else OnWritten is called when it is.
  virtual bool Write(v1::GenerateImageEvent event) = 0;
  virtual void Close(const grpc::Status& status) = 0;
  // Makes the write that is under way fail, now.  With the lock held.
  virtual void Abandon() {}

  // On an encoding thread, without the lock: may take the picture out of an
  // image before it is written.  If it fails, so does the call.
  virtual absl::Status Keep(v1::Image* /*image*/) { return absl::OkStatus(); }

  void OnWritten(bool ok);

  // For Close.
  v1::Usage MakeUsage() const;

  const CallServices* const services_;

 private:
  void Push(v1::GenerateImageEvent event);
  void Pump();
  void Report();
  void EndWith(const absl::Status& status, const grpc::Status& wire);
  void EncodeLater(int image, int scale, model::RgbImage picture,
                   bool is_preview);
  void Encode(std::uint64_t place, int image, int scale, int tier,
              const model::RgbImage& picture, bool is_preview);
  void EncodingFailed(const absl::Status& status);
  v1::GenerateImageEvent NewEvent() const;

  const std::string rpc_;
  const Reader reader_;
  const absl::Time arrived_;

  // Written by Judge before anybody else sees the call.
  std::string peer_;
  ResolvedRequest asked_;
  int images_asked_ = 0;

  // Guards all that follows; held by the private methods without a word.
  mutable std::mutex mutex_;
  Outbox outbox_;
  ReaderPatience patience_;
  std::uint64_t number_ = 0;  // the engine's; 0: none
  bool client_left_ = false;
  bool stalled_ = false;
  bool is_writing_ = false;
  std::int64_t writing_bytes_ = 0;
  bool completed_ = false;
  bool closed_ = false;
  // The engine has nothing more to say: it never took it, or OnFinished came.
  bool engine_done_ = true;
  bool reported_ = false;
  int tier_ = -1;  // granted; -1: none that exists
  absl::Duration encode_took_;
  RequestUsage usage_;
  // Set once the outcome is known.
  std::optional<absl::Status> end_;
  grpc::Status wire_end_;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_GENERATION_CALL_H_
