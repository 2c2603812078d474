#include "server/rpc/stream_watch.h"

#include <utility>
#include <vector>

namespace heatkv::server {

StreamWatch::StreamWatch(absl::Duration period, std::function<void()> also)
    : period_(period), also_(std::move(also)), thread_([this] { Watch(); }) {}

StreamWatch::~StreamWatch() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  stopped_.notify_one();
  thread_.join();
}

void StreamWatch::Add(std::weak_ptr<WatchedStream> stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  streams_.push_back(std::move(stream));
}

void StreamWatch::LookNow() {
  std::vector<std::shared_ptr<WatchedStream>> alive;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    streams_.remove_if([&](const std::weak_ptr<WatchedStream>& weak) {
      std::shared_ptr<WatchedStream> stream = weak.lock();
      if (stream == nullptr) return true;
      alive.push_back(std::move(stream));
      return false;
    });
  }
  for (const auto& stream : alive) stream->LookAfter();
  also_();
}

void StreamWatch::Watch() {
  while (true) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (stopped_.wait_for(lock, absl::ToChronoNanoseconds(period_),
                            [this] { return stopping_; })) {
        return;
      }
    }
    LookNow();
  }
}

}  // namespace heatkv::server
