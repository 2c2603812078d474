#include "server/log/event_log.h"

#include "absl/strings/escaping.h"
#include "absl/time/clock.h"

namespace heatkv::server {
namespace {

const char* LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "unknown";
}

bool IsPlain(absl::string_view value) {
  for (const char c : value) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
        (c >= '0' && c <= '9') ||
        absl::string_view("-_.:/+,%@[]").find(c) != absl::string_view::npos;
    if (!plain) return false;
  }
  return !value.empty();
}

std::string Head(absl::Time time, LogLevel level, absl::string_view event) {
  return absl::StrCat(
      "time=",
      absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone()),
      " level=", LevelName(level), " event=", event);
}

}  // namespace

void EventLog::AppendField(const LogField& field, std::string* line) {
  absl::StrAppend(line, " ", field.key, "=");
  if (IsPlain(field.value)) {
    absl::StrAppend(line, field.value);
  } else {
    absl::StrAppend(line, "\"", absl::Utf8SafeCEscape(field.value), "\"");
  }
}

std::string EventLog::Format(absl::Time time, LogLevel level,
                             absl::string_view event,
                             std::initializer_list<LogField> fields) {
  std::string line = Head(time, level, event);
  for (const LogField& field : fields) AppendField(field, &line);
  return line;
}

void EventLog::WriteLine(LogLevel level, absl::string_view event,
                         const std::string& fields) {
  const std::string line =
      absl::StrCat(Head(absl::Now(), level, event), fields, "\n");
  const std::lock_guard<std::mutex> lock(mutex_);
  std::fwrite(line.data(), 1, line.size(), stream_);
  std::fflush(stream_);
}

}  // namespace heatkv::server
