// Where the engine reads the time, so that tests can turn the hands.
//
// Thread safety: Now() may be called from any thread.

#ifndef SERVER_ENGINE_CLOCK_H_
#define SERVER_ENGINE_CLOCK_H_

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace heatkv::server {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;
};

// The system's clock, which deadlines of remote callers refer to.
class SystemClock final : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_CLOCK_H_
