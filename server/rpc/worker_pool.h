// A few threads that run jobs in the order in which they came: the encoding of
// pictures, which must not hold up the engine.  It takes any number of jobs and
// says how many bytes they hold; who gives them is to give less when it is
// much.
//
// Thread safety: the public methods may be called from any thread.

#ifndef SERVER_RPC_WORKER_POOL_H_
#define SERVER_RPC_WORKER_POOL_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace heatkv::server {

class WorkerPool {
 public:
  // REQUIRES: threads >= 1.
  explicit WorkerPool(int threads);
  // Runs what was scheduled, then ends the threads.
  ~WorkerPool();

  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // `bytes` is what the job holds until it has run.
  void Schedule(std::function<void()> job, std::int64_t bytes = 0);

  // Of jobs that wait or run.
  std::int64_t waiting_bytes() const;

 private:
  struct Job {
    std::function<void()> run;
    std::int64_t bytes = 0;
  };

  void Work();

  mutable std::mutex mutex_;  // guards what follows
  std::int64_t waiting_bytes_ = 0;
  std::condition_variable has_work_;
  std::deque<Job> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_WORKER_POOL_H_
