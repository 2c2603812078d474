#include "server/rpc/heartbeats.h"

#include <utility>
#include <vector>

namespace heatkv::server {

Heartbeats::Heartbeats(absl::Duration interval)
    : interval_(interval), thread_([this] { Beat(); }) {}

Heartbeats::~Heartbeats() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void Heartbeats::Add(std::weak_ptr<GenerationCall> call) {
  absl::MutexLock lock(&mutex_);
  calls_.push_back(std::move(call));
}

void Heartbeats::Beat() {
  while (true) {
    std::vector<std::shared_ptr<GenerationCall>> alive;
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), interval_)) {
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
