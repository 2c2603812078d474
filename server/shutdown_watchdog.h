// Sees to it that a server that was told to stop does stop: whatever is stuck
// (a step of the model, a call that never ends, a log that nobody reads) must
// not hold the exit.
//
// Thread safety: any thread.

#ifndef SERVER_SHUTDOWN_WATCHDOG_H_
#define SERVER_SHUTDOWN_WATCHDOG_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "absl/time/time.h"
#include "server/log/event_log.h"

namespace heatkv::server {

class ShutdownWatchdog {
 public:
  explicit ShutdownWatchdog(std::function<void()> on_stuck);

  // All went well: `on_stuck` is not called any more.
  ~ShutdownWatchdog();

  // Calls `on_stuck`, once and on a thread of its own, unless the watchdog is
  // gone `limit` from now.  A later call can only shorten the time.
  void Arm(absl::Duration limit);

 private:
  void Watch();

  const std::function<void()> on_stuck_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::optional<std::chrono::steady_clock::time_point> end_;
  bool is_gone_ = false;
  std::thread thread_;
};

// The exit status of a server that did not stop in time.
inline constexpr int kExitStuck = 3;

// Logs `stuck`, if the log can be written, and ends the process at once.
[[noreturn]] void ExitStuck(EventLog* log);

}  // namespace heatkv::server

#endif  // SERVER_SHUTDOWN_WATCHDOG_H_
