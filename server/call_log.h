// Writes one log line for every finished call, and passes all it is told on to
// another observer (the metrics).
//
// Thread safety: any thread.

#ifndef SERVER_CALL_LOG_H_
#define SERVER_CALL_LOG_H_

#include <string>

#include "server/engine/forwarding_observer.h"
#include "server/log/event_log.h"

namespace heatkv::server {

class CallLog final : public ForwardingObserver {
 public:
  // Both must outlive it.
  CallLog(EventLog* log, ServerObserver* next)
      : ForwardingObserver(next), log_(log) {}

  void OnCall(const CallRecord& call) override;

 private:
  EventLog* log_;
};

}  // namespace heatkv::server

#endif  // SERVER_CALL_LOG_H_
