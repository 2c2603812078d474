#include "server/log/event_log.h"

#include <cstdio>

#include "gtest/gtest.h"

namespace heatkv::server {
namespace {

TEST(EventLogTest, WritesOneLineOfKeysAndValues) {
  EXPECT_EQ(EventLog::Format(absl::FromUnixMillis(1'800'000'000'123),
                             LogLevel::kWarning, "call",
                             {{"code", "OK"}, {"seconds", 1.5}, {"n", 3}}),
            "time=2027-01-15T08:00:00.123Z level=warning event=call code=OK "
            "seconds=1.5 n=3");
}

TEST(EventLogTest, AHostileValueStaysWithinItsQuotes) {
  const std::string line = EventLog::Format(
      absl::UnixEpoch(), LogLevel::kInfo, "call",
      {{"message", "a \"b\"\nlevel=error event=fake"}, {"empty", ""}});
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_EQ(line,
            "time=1970-01-01T00:00:00.000Z level=info event=call "
            "message=\"a \\\"b\\\"\\nlevel=error event=fake\" empty=\"\"");
}

TEST(EventLogTest, WritesToItsStream) {
  std::FILE* stream = std::tmpfile();
  ASSERT_NE(stream, nullptr);
  EventLog log(stream);
  log.Write(LogLevel::kInfo, "ready", {{"port", 50051}});
  std::rewind(stream);
  char line[200] = {};
  ASSERT_NE(std::fgets(line, sizeof line, stream), nullptr);
  std::fclose(stream);
  EXPECT_NE(std::string(line).find("event=ready port=50051\n"),
            std::string::npos);
}

}  // namespace
}  // namespace heatkv::server
