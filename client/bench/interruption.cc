#include "client/bench/interruption.h"

#include <pthread.h>
#include <signal.h>

#include <utility>

#include "base/check.h"

namespace heatkv::client {
namespace {

// Tells the thread to look whether it is still needed.
constexpr int kEnough = SIGUSR1;

sigset_t EndingSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action = {};
    sigaction(signal, nullptr, &action);
    if (action.sa_handler != SIG_IGN) sigaddset(&set, signal);
  }
  sigaddset(&set, kEnough);
  return set;
}

// A parent sees which signal it was.
void EndBy(int signal) {
  std::signal(signal, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  std::raise(signal);
}

}  // namespace

Interruption::Interruption(std::function<void()> before_end) {
  const sigset_t set = EndingSignals();
  HEATKV_CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, &before_), 0);
  thread_ = std::thread([this, set, before_end = std::move(before_end)] {
    int signal = kEnough;
    while (signal == kEnough) {  // which anybody may send
      HEATKV_CHECK_EQ(sigwait(&set, &signal), 0);
      if (is_over_) return;
    }
    before_end();
    EndBy(signal);
  });
}

Interruption::~Interruption() {
  is_over_ = true;
  pthread_kill(thread_.native_handle(), kEnough);
  thread_.join();
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace heatkv::client
