#include "client/bench/interruption.h"

#include <pthread.h>
#include <signal.h>

#include <utility>

#include "base/check.h"

namespace heatkv::client {
namespace {

// Tells the thread that it is no longer needed.
constexpr int kEnough = SIGUSR1;

sigset_t EndingSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  struct sigaction hangup = {};
  sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaddset(&set, SIGHUP);
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
  thread_ = std::thread([set, before_end = std::move(before_end)] {
    int signal = 0;
    if (sigwait(&set, &signal) != 0 || signal == kEnough) return;
    before_end();
    EndBy(signal);
  });
}

Interruption::~Interruption() {
  pthread_kill(thread_.native_handle(), kEnough);
  thread_.join();
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace heatkv::client
