// What a program does before SIGINT, SIGTERM or SIGHUP ends it.
//
// While an Interruption lives, those signals are kept back in the thread that
// made it and in all that it starts, and a thread of its own takes them: it
// calls `before_end`, then ends the process as the signal would have.  Those
// that are ignored (nohup, a shell's background) are left alone.
//
// Thread safety: made and destroyed by one thread, of which the other threads
// were born later.

#ifndef CLIENT_BENCH_INTERRUPTION_H_
#define CLIENT_BENCH_INTERRUPTION_H_

#include <atomic>
#include <csignal>
#include <functional>
#include <thread>

namespace heatkv::client {

class Interruption {
 public:
  explicit Interruption(std::function<void()> before_end);
  ~Interruption();

  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

 private:
  sigset_t before_;  // the mask as it was
  std::atomic<bool> is_over_ = false;
  std::thread thread_;
};

}  // namespace heatkv::client

#endif  // CLIENT_BENCH_INTERRUPTION_H_
