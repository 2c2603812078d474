#include "server/termination.h"

#include <pthread.h>

#include <utility>

#include "base/check.h"

namespace heatkv::server {
namespace {

// Tells a listener that it is no longer needed.
constexpr int kEnough = SIGUSR1;

}  // namespace

TerminationSignals::TerminationSignals() {
  sigemptyset(&set_);
  sigaddset(&set_, SIGTERM);
  sigaddset(&set_, SIGINT);
  sigset_t blocked = set_;
  sigaddset(&blocked, kEnough);
  HEATKV_CHECK_EQ(pthread_sigmask(SIG_BLOCK, &blocked, nullptr), 0);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

bool TerminationSignals::Await(absl::Duration timeout) const {
  if (timeout == absl::InfiniteDuration()) {
    return sigwaitinfo(&set_, nullptr) > 0;
  }
  const timespec limit = absl::ToTimespec(timeout);
  return sigtimedwait(&set_, nullptr, &limit) > 0;
}

TerminationListener::TerminationListener(const TerminationSignals& signals,
                                         std::function<void()> on_signal) {
  sigset_t set = signals.set();
  sigaddset(&set, kEnough);
  thread_ = std::thread([set, on_signal = std::move(on_signal)] {
    int signal = 0;
    while (sigwait(&set, &signal) == 0 && signal != kEnough) on_signal();
  });
}

TerminationListener::~TerminationListener() {
  pthread_kill(thread_.native_handle(), kEnough);
  thread_.join();
}

}  // namespace heatkv::server
