// Remembers the last calls that ended, for whoever asks what just happened.
// Bounded: a new call takes the place of the oldest.  Passes all it is told on
// to another observer.
//
// Thread safety: any thread.

#ifndef SERVER_ENGINE_FLIGHT_RECORDER_H_
#define SERVER_ENGINE_FLIGHT_RECORDER_H_

#include <deque>
#include <mutex>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/clock.h"
#include "server/engine/forwarding_observer.h"

namespace heatkv::server {

struct EndedCall {
  absl::Time end;
  CallRecord call;
};

class FlightRecorder final : public ForwardingObserver {
 public:
  // Keeps `capacity` calls, 1 or more.  `clock` and `next` must outlive it.
  FlightRecorder(int capacity, const Clock* clock, ServerObserver* next);

  void OnCall(const CallRecord& call) override;

  // The last `most` calls at most, newest first.
  std::vector<EndedCall> Last(int most) const;

 private:
  const int capacity_;
  const Clock* const clock_;
  mutable std::mutex mutex_;
  std::deque<EndedCall> calls_;  // oldest first
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_FLIGHT_RECORDER_H_
