// One stream that shows a job: pulls the events from the job's record, one at a
// time, and writes each when the one before is written.  A slow reader costs
// one message; leaving does not touch the job.
//
// gRPC's threads, the maker of the job, encoding threads (which read pictures)
// and the watch over streams meet in it.  It keeps itself alive until OnDone.
//
// Thread safety: any thread.

#ifndef SERVER_RPC_JOB_WATCH_H_
#define SERVER_RPC_JOB_WATCH_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/call_services.h"
#include "server/rpc/job_record.h"
#include "server/rpc/reader_patience.h"
#include "server/rpc/stream_watch.h"

namespace heatkv::server {

class JobWatch final : public JobReader,
                       public WatchedStream,
                       public grpc::ServerWriteReactor<v1::GenerateImageEvent>,
                       public std::enable_shared_from_this<JobWatch> {
 public:
  // `context` is the call's.
  JobWatch(const CallServices* services, grpc::CallbackServerContext* context,
           std::shared_ptr<JobRecord> record, std::uint64_t after_sequence);

  // Begins to write; once.
  void Start();

  void OnJobChanged() override;
  void LookAfter() override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // With the lock held.
  void Pump();
  void Send(v1::GenerateImageEvent event);
  void EndWith(const absl::Status& status);

  // Without it, on an encoding thread.
  void ReadAndSend(JobRecord::Entry entry);

  const CallServices* const services_;
  grpc::CallbackServerContext* const context_;
  const std::shared_ptr<JobRecord> record_;
  const absl::Time arrived_;
  const std::string peer_;
  std::shared_ptr<JobWatch> self_;

  std::mutex mutex_;  // guards what follows
  ReaderPatience patience_;
  std::uint64_t after_;  // number of the last event that was begun
  bool is_writing_ = false;
  bool stalled_ = false;
  bool closed_ = false;
  v1::GenerateImageEvent written_;
  std::optional<grpc::Status> end_;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_JOB_WATCH_H_
