// The call that makes the images of a job.  Its messages go into the job's
// record and its pictures into the store; no client waits for it.
//
// Thread safety: see GenerationCall.

#ifndef SERVER_RPC_JOB_CALL_H_
#define SERVER_RPC_JOB_CALL_H_

#include <map>
#include <memory>
#include <mutex>

#include "server/rpc/generation_call.h"
#include "server/rpc/job_record.h"
#include "server/rpc/result_store.h"

namespace heatkv::server {

class JobCall final : public GenerationCall {
 public:
  // `store` must outlive the call.
  JobCall(const CallServices* services, ResultStore* store,
          std::shared_ptr<JobRecord> record)
      : GenerationCall(services, "SubmitImage", Reader::kRecord),
        store_(store),
        record_(std::move(record)) {}

  // The most that the pictures of this request can take, previews included, in
  // bytes.  Call it after Judge.
  std::int64_t MostBytes() const;

 private:
  bool Write(v1::GenerateImageEvent event) override;
  void Close(const grpc::Status& status) override;
  absl::Status Keep(v1::Image* image) override;

  ResultStore* const store_;
  const std::shared_ptr<JobRecord> record_;
  std::mutex pictures_mutex_;
  // By the number of the image, until its event is written; guarded by
  // pictures_mutex_.
  std::map<int, std::shared_ptr<const StoredResult>> pictures_;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_JOB_CALL_H_
