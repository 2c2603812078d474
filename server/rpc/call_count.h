// How many calls are still being worked on by anybody (gRPC, engine, encoding
// threads), so that what they use is not taken away under them.
//
// Thread safety: any thread.

#ifndef SERVER_RPC_CALL_COUNT_H_
#define SERVER_RPC_CALL_COUNT_H_

#include <condition_variable>
#include <mutex>

#include "absl/time/time.h"

namespace heatkv::server {

class CallCount {
 public:
  void Enter() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++calls_;
  }
  void Leave() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--calls_ == 0) none_.notify_all();
  }

  // Waits at most `timeout`, which is finite.  Whether there is none.
  bool AwaitNone(absl::Duration timeout) const {
    std::unique_lock<std::mutex> lock(mutex_);
    return none_.wait_for(lock, absl::ToChronoNanoseconds(timeout),
                          [this] { return calls_ == 0; });
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable none_;
  int calls_ = 0;  // guarded by mutex_
};

}  // namespace heatkv::server

#endif  // SERVER_RPC_CALL_COUNT_H_
