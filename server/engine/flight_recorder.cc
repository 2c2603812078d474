#include "server/engine/flight_recorder.h"

#include <algorithm>

#include "base/check.h"

namespace heatkv::server {
namespace {

// What is kept must not grow with what clients send.
constexpr std::size_t kMaxMessage = 2000;

}  // namespace

FlightRecorder::FlightRecorder(int capacity, const Clock* clock,
                               ServerObserver* next)
    : ForwardingObserver(next), capacity_(capacity), clock_(clock) {
  HEATKV_CHECK_GE(capacity, 1);
}

void FlightRecorder::OnCall(const CallRecord& call) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (calls_.size() == capacity_) calls_.pop_front();
    calls_.push_back({clock_->Now(), call});
    CallRecord& kept = calls_.back().call;
    if (kept.status.message().size() > kMaxMessage) {
      kept.status = absl::Status(kept.status.code(),
                                 kept.status.message().substr(0, kMaxMessage));
    }
    kept.request_id.resize(std::min(kept.request_id.size(), kMaxMessage));
  }
  ForwardingObserver::OnCall(call);
}

std::vector<EndedCall> FlightRecorder::Last(int most) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const std::size_t count =
      std::min<std::size_t>(calls_.size(), std::max(most, 0));
  return {calls_.rbegin(), calls_.rbegin() + count};
}

}  // namespace heatkv::server
