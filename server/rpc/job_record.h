// What is known about one job, from its beginning until it is forgotten: its
// events, its pictures, its end.  Whoever makes the images appends; any number
// of readers pull at their own pace and are woken when there is more.
//
// Small, however long somebody waits to read it: of previews of one image only
// the newest is kept, of queue positions only the newest.  Pictures lie in a
// ResultStore; events carry none of their bytes.
//
// Thread safety: any thread.  Readers are woken without the record's lock, but
// perhaps with the engine's or a call's, so they must not call those.

#ifndef SERVER_RPC_JOB_RECORD_H_
#define SERVER_RPC_JOB_RECORD_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpcpp/support/status.h"
#include "heatkv/v1/image_generation.pb.h"
#include "server/rpc/result_store.h"

namespace heatkv::server {

// Wants to know that a record has changed.
class JobReader {
 public:
  virtual ~JobReader() = default;
  virtual void OnJobChanged() = 0;
};

class JobRecord {
 public:
  struct Entry {
    v1::GenerateImageEvent event;  // without the bytes of an image
    std::shared_ptr<const StoredResult> picture;  // of an image
  };
  // What a reader finds behind the events that it has.
  struct Found {
    std::optional<Entry> next;
    std::optional<grpc::Status> end;  // if there is nothing next, ever
  };
  // A job and where the bytes of its images are: pictures[i] of job.images(i).
  struct View {
    v1::ImageJob job;
    std::vector<std::shared_ptr<const StoredResult>> pictures;
  };

  // `ttl` is how long it is kept once it has ended.
  JobRecord(std::string id, absl::Time created, absl::Duration ttl)
      : id_(std::move(id)), created_(created), ttl_(ttl) {}

  const std::string& id() const { return id_; }
  absl::Time created() const { return created_; }

  // How the job is to be cancelled.  Before anybody else sees the record.
  void SetCancel(std::function<void()> cancel) { cancel_ = std::move(cancel); }
  // No effect on a job that has ended.
  void Cancel();

  // What is known before the first event.
  void SetRequest(std::string request_id, std::string tier, int images);

  // REQUIRES: sequence numbers rise, and the job has not ended.
  void Append(v1::GenerateImageEvent event,
              std::shared_ptr<const StoredResult> picture);
  // Once.
  void End(const grpc::Status& status, const v1::Usage& usage, absl::Time now);

  // The first event with a number above `sequence`.
  Found After(std::uint64_t sequence) const;

  View Describe() const;

  bool has_ended() const;
  absl::Time expires() const;  // InfiniteFuture before the end
  // Of pictures and previews.
  std::int64_t bytes() const;

  // Until the reader is destroyed; does not keep it alive.
  void AddReader(std::weak_ptr<JobReader> reader);

 private:
  void WakeReaders();

  const std::string id_;
  const absl::Time created_;
  const absl::Duration ttl_;
  std::function<void()> cancel_;

  mutable std::mutex mutex_;  // guards what follows
  std::string request_id_;
  std::string tier_;
  int images_asked_ = 0;
  bool started_ = false;
  std::deque<Entry> entries_;
  std::int64_t bytes_ = 0;
  std::optional<grpc::Status> end_;
  absl::Time ended_;
  v1::Usage usage_;
  std::vector<std::weak_ptr<JobReader>> readers_;
};

// Reads the bytes of the view's images into its job.
absl::Status ReadPictures(JobRecord::View* view);

}  // namespace heatkv::server

#endif  // SERVER_RPC_JOB_RECORD_H_
