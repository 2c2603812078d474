// A clock that stands still until a test turns its hands.  Any thread.

#ifndef TESTS_FAKES_FAKE_CLOCK_H_
#define TESTS_FAKES_FAKE_CLOCK_H_

#include <mutex>

#include "absl/time/time.h"
#include "server/engine/clock.h"

namespace heatkv::server {

class FakeClock final : public Clock {
 public:
  absl::Time Now() const override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return now_;
  }
  void Advance(absl::Duration by) {
    const std::lock_guard<std::mutex> lock(mutex_);
    now_ += by;
  }

 private:
  mutable std::mutex mutex_;
  absl::Time now_ = absl::FromUnixSeconds(1'800'000'000);
};

}  // namespace heatkv::server

#endif  // TESTS_FAKES_FAKE_CLOCK_H_
