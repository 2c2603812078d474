#include "server/rpc/worker_pool.h"

#include <utility>

namespace heatkv::server {

WorkerPool::WorkerPool(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  has_work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::Schedule(std::function<void()> job, std::int64_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  jobs_.push_back({std::move(job), bytes});
  waiting_bytes_ += bytes;
  has_work_.notify_one();
}

std::int64_t WorkerPool::waiting_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return waiting_bytes_;
}

void WorkerPool::Work() {
  while (true) {
    Job job;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      has_work_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job.run();
    job.run = nullptr;
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting_bytes_ -= job.bytes;
  }
}

}  // namespace heatkv::server
