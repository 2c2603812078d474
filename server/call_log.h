// Writes one log line for every finished call, and passes all it is told on to
// another observer (the metrics).
//
// Thread safety: any thread.

#ifndef SERVER_CALL_LOG_H_
#define SERVER_CALL_LOG_H_

#include <string>

#include "server/engine/observer.h"
#include "server/log/event_log.h"

namespace heatkv::server {

class CallLog final : public ServerObserver {
 public:
  // Both must outlive it.
  CallLog(EventLog* log, ServerObserver* next) : log_(log), next_(next) {}

  void OnCall(const CallRecord& call) override;
  void OnStage(Stage stage, absl::Duration took) override;
  void OnScale(int scale, absl::Duration took) override;
  void OnImage(const std::string& tier, const absl::Status& status) override;

 private:
  EventLog* log_;
  ServerObserver* next_;
};

}  // namespace heatkv::server

#endif  // SERVER_CALL_LOG_H_
