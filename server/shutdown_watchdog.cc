#include "server/shutdown_watchdog.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

namespace heatkv::server {

ShutdownWatchdog::ShutdownWatchdog(std::function<void()> on_stuck)
    : on_stuck_(std::move(on_stuck)), thread_([this] { Watch(); }) {}

ShutdownWatchdog::~ShutdownWatchdog() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_gone_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void ShutdownWatchdog::Arm(absl::Duration limit) {
  // Within what the clock can say.
  const absl::Duration bounded = std::min(limit, absl::Hours(24 * 365));
  const auto end =
      std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(bounded);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!end_.has_value() || end < *end_) end_ = end;
  }
  changed_.notify_all();
}

void ShutdownWatchdog::Watch() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!is_gone_) {
    if (!end_.has_value()) {
      changed_.wait(lock);
    } else if (std::chrono::steady_clock::now() < *end_) {
      const auto end = *end_;
      changed_.wait_until(lock, end);
    } else {
      lock.unlock();
      on_stuck_();
      return;
    }
  }
}

void ExitStuck(EventLog* log) {
  log->WriteWithoutWaiting("stuck",
                           {{"message", "the server did not stop in time"}});
  _exit(kExitStuck);
}

}  // namespace heatkv::server
