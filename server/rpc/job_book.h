// The jobs that the server knows: those that run, and those that ended a while
// ago.  Bounded by number, by bytes of pictures and by time: an ended job is
// forgotten once its time is over, or earlier, oldest end first, when room is
// needed.  A job that runs is never forgotten.
//
// Bytes are promised before a job starts: until it ends it counts with what its
// pictures may take, so a job is never short of room half way.
//
// Thread safety: any thread.  Lock order: the book's before the engine's.

#ifndef SERVER_RPC_JOB_BOOK_H_
#define SERVER_RPC_JOB_BOOK_H_

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/clock.h"
#include "server/rpc/job_record.h"
#include "server/rpc/public_interface.h"

namespace heatkv::server {

// A job that somebody wants.
struct NewJob {
  std::shared_ptr<JobRecord> record;
  // Who wants it; keys of different tenants are different keys.
  std::string tenant;
  std::string idempotency_key;  // empty: none
  // Equal for equal requests.
  std::string fingerprint;
  std::int64_t most_bytes = 0;  // of its pictures and previews
};

class JobBook {
 public:
  // `clock` must outlive the book.
  JobBook(const JobOptions& options, const Clock* clock)
      : options_(options), clock_(clock) {}

  // The job that was entered with the same tenant and key, or else `job`'s own
  // record, entered now if `begin` succeeds.  `begin` is called at most once,
  // under the lock of the book, so that of concurrent duplicates one begins.
  //   AlreadyExists       the key was used for another request
  //   FailedPrecondition  the job alone has more bytes than are kept; both
  //                       numbers are named
  //   ResourceExhausted   jobs that run fill the book; carries a retry hint
  // or null if `begin` was false.  Of these nothing is forgotten for it.
  absl::StatusOr<std::shared_ptr<JobRecord>> Enter(
      const NewJob& job, const std::function<bool()>& begin);

  // Null if there is no such job, or none any more.
  std::shared_ptr<JobRecord> Find(const std::string& id);

  // Forgets what has expired.
  void ForgetExpired();

  absl::Duration ttl() const { return options_.ttl; }
  int size() const;
  std::int64_t bytes() const;

 private:
  struct Page {
    std::shared_ptr<JobRecord> record;
    std::string tenant;
    std::string key;
    std::string fingerprint;
    std::int64_t most_bytes = 0;

    std::int64_t bytes() const;
  };

  void Sweep(absl::Time now);
  std::int64_t Bytes() const;
  // The jobs that have ended, those first that ended first.
  std::vector<std::list<Page>::iterator> Ended();

  const JobOptions options_;
  const Clock* const clock_;
  mutable std::mutex mutex_;
  std::list<Page> pages_;  // guarded by mutex_; in the order of entry
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_JOB_BOOK_H_
