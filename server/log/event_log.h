// Structured log lines, one event each, for people and for log collectors:
//   time=2027-03-01T12:00:00.123Z level=info event=call rpc=GenerateImage ...
// Keys are fixed words; a value with anything but letters, digits and plain
// punctuation is quoted and escaped, so one event is always one line.
//
// Thread safety: Write may be called from any thread; lines are not mixed.

#ifndef SERVER_LOG_EVENT_LOG_H_
#define SERVER_LOG_EVENT_LOG_H_

#include <atomic>
#include <cstdio>
#include <initializer_list>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace heatkv::server {

struct LogField {
  LogField(absl::string_view key, const absl::AlphaNum& value)
      : key(key), value(value.Piece()) {}

  std::string key;
  std::string value;
};

enum class LogLevel { kInfo, kWarning, kError };

// "info", "warning", "error"
const char* LogLevelName(LogLevel level);
std::optional<LogLevel> ParseLogLevel(absl::string_view name);

class EventLog {
 public:
  // `stream` must outlive the log.
  explicit EventLog(std::FILE* stream) : stream_(stream) {}

  // Events below it are not written from now on.  At first kInfo.
  void SetLevel(LogLevel level) { level_ = level; }
  LogLevel level() const { return level_; }

  template <typename Fields = std::initializer_list<LogField>>
  void Write(LogLevel level, absl::string_view event,
             const Fields& fields = {}) {
    if (level < level_) return;
    std::string line;
    for (const LogField& field : fields) AppendField(field, &line);
    WriteLine(level, event, line);
  }

  // Writes an error without ever waiting: not if somebody else is writing, nor
  // if the stream takes nothing now (a pipe that nobody reads).  Whether it was
  // written.
  bool WriteWithoutWaiting(absl::string_view event,
                           std::initializer_list<LogField> fields);

  // The line without its end, for tests.
  static std::string Format(absl::Time time, LogLevel level,
                            absl::string_view event,
                            std::initializer_list<LogField> fields);

 private:
  static void AppendField(const LogField& field, std::string* line);
  void WriteLine(LogLevel level, absl::string_view event,
                 const std::string& fields);

  std::FILE* stream_;
  std::atomic<LogLevel> level_ = LogLevel::kInfo;
  std::mutex mutex_;
};

}  // namespace heatkv::server

#endif  // SERVER_LOG_EVENT_LOG_H_
