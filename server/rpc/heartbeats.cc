#include "server/rpc/heartbeats.h"

#include <utility>
#include <vector>

namespace heatkv::server {

Heartbeats::Heartbeats(absl::Duration interval)
    : interval_(interval), thread_([this] { Beat(); }) {}

Heartbeats::~Heartbeats() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  stopped_.notify_one();
  thread_.join();
}

void Heartbeats::Add(std::weak_ptr<GenerationCall> call) {
  const std::lock_guard<std::mutex> lock(mutex_);
  calls_.push_back(std::move(call));
}

void Heartbeats::Beat() {
  while (true) {
    std::vector<std::shared_ptr<GenerationCall>> alive;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (stopped_.wait_for(lock, absl::ToChronoNanoseconds(interval_),
                            [this] { return stopping_; })) {
        return;
      }
      calls_.remove_if([&](const std::weak_ptr<GenerationCall>& weak) {
        std::shared_ptr<GenerationCall> call = weak.lock();
        if (call == nullptr) return true;
        alive.push_back(std::move(call));
        return false;
      });
    }
    for (const auto& call : alive) call->Heartbeat(interval_);
  }
}

}  // namespace heatkv::server
