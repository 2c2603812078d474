// A few threads that run jobs in the order in which they came: the encoding of
// pictures, which must not hold up the engine.
//
// Thread safety: Schedule may be called from any thread.

#ifndef SERVER_RPC_WORKER_POOL_H_
#define SERVER_RPC_WORKER_POOL_H_

#include <condition_variable>
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

  void Schedule(std::function<void()> job);

 private:
  void Work();

  std::mutex mutex_;  // guards what follows
  std::condition_variable has_work_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_WORKER_POOL_H_
