#include "server/call_log.h"

#include <vector>

#include "absl/strings/str_cat.h"

namespace heatkv::server {

void CallLog::OnCall(const CallRecord& call) {
  std::vector<LogField> fields = {
      {"rpc", call.rpc},
      {"code", absl::StatusCodeToString(call.status.code())},
      {"seconds", absl::ToDoubleSeconds(call.took)},
      {"peer", call.peer}};
  if (!call.request_id.empty()) {
    fields.push_back({"request_id", call.request_id});
  }
  if (!call.tenant.empty()) fields.push_back({"tenant", call.tenant});
  if (call.images_asked > 0) {
    fields.push_back({"tier", call.tier});
    fields.push_back(
        {"images", absl::StrCat(call.usage.images, "/", call.images_asked)});
    fields.push_back({"peak_bytes", call.usage.peak_cache_bytes});
    fields.push_back({"full_bytes", call.usage.full_cache_bytes});
  }
  if (!call.status.ok()) {
    fields.push_back({"message", call.status.message()});
  }
  for (const auto& [key, value] : call.tags) {
    fields.push_back({"tag", absl::StrCat(key, "=", value)});
  }
  log_->Write(call.status.code() == absl::StatusCode::kInternal
                  ? LogLevel::kError
                  : LogLevel::kInfo,
              "call", fields);
  ForwardingObserver::OnCall(call);
}

}  // namespace heatkv::server
