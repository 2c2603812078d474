#include "server/log/event_log.h"

#include <poll.h>

#include "absl/strings/escaping.h"
#include "absl/time/clock.h"

namespace heatkv::server {
namespace {

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
      " level=", LogLevelName(level), " event=", event);
}

}  // namespace

const char* LogLevelName(LogLevel level) {
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

std::optional<LogLevel> ParseLogLevel(absl::string_view name) {
  for (const LogLevel level :
       {LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    if (name == LogLevelName(level)) return level;
  }
  return std::nullopt;
}

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

bool EventLog::WriteWithoutWaiting(absl::string_view event,
                                   std::initializer_list<LogField> fields) {
  const std::string line =
      Format(absl::Now(), LogLevel::kError, event, fields) + "\n";
  const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return false;
  pollfd stream = {fileno(stream_), POLLOUT, 0};
  if (poll(&stream, 1, 0) != 1 || (stream.revents & POLLOUT) == 0) return false;
  std::fwrite(line.data(), 1, line.size(), stream_);
  std::fflush(stream_);
  return true;
}

}  // namespace heatkv::server
