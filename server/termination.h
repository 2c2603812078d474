// The signals that tell the program to stop, SIGTERM and SIGINT, taken by
// threads that wait for them, so that nothing is interrupted.
//
// Thread safety: one thread.

#ifndef SERVER_TERMINATION_H_
#define SERVER_TERMINATION_H_

#include <csignal>
#include <functional>
#include <thread>

#include "absl/time/time.h"

namespace heatkv::server {

class TerminationSignals {
 public:
  // Keeps the signals back in the calling thread and in all that it starts, and
  // makes the program overlook SIGPIPE (a peer that is gone) and SIGXFSZ (a
  // file that may not grow): both are errors of the call concerned.  Make it
  // before any thread.
  TerminationSignals();

  // Waits for a signal, at most `timeout`.  Whether one came.
  bool Await(absl::Duration timeout) const;

  const sigset_t& set() const { return set_; }

 private:
  sigset_t set_;
};

// While it lives, takes a signal that tells the program to stop and calls
// `on_signal`, on a thread of its own.
class TerminationListener {
 public:
  TerminationListener(const TerminationSignals& signals,
                      std::function<void()> on_signal);
  ~TerminationListener();

 private:
  std::thread thread_;
};

}  // namespace heatkv::server

#endif  // SERVER_TERMINATION_H_
