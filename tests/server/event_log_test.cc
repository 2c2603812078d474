#include "server/log/event_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <string>

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

TEST(EventLogTest, EventsBelowTheLevelAreNotWritten) {
  std::FILE* stream = std::tmpfile();
  ASSERT_NE(stream, nullptr);
  EventLog log(stream);
  EXPECT_EQ(log.level(), LogLevel::kInfo);
  log.SetLevel(LogLevel::kWarning);
  log.Write(LogLevel::kInfo, "quiet");
  log.Write(LogLevel::kWarning, "heard");
  log.Write(LogLevel::kError, "loud");
  std::rewind(stream);
  char text[400] = {};
  const std::size_t size = std::fread(text, 1, sizeof text, stream);
  std::fclose(stream);
  const std::string lines(text, size);
  EXPECT_EQ(lines.find("quiet"), std::string::npos);
  EXPECT_NE(lines.find("event=heard"), std::string::npos);
  EXPECT_NE(lines.find("event=loud"), std::string::npos);
}

TEST(EventLogTest, LevelsHaveNames) {
  for (const LogLevel level :
       {LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    EXPECT_EQ(ParseLogLevel(LogLevelName(level)), level);
  }
  EXPECT_EQ(ParseLogLevel("debug"), std::nullopt);
}

TEST(EventLogTest, DoesNotWaitForAPipeThatNobodyReads) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_NONBLOCK), 0);
  std::FILE* stream = fdopen(ends[1], "w");
  ASSERT_NE(stream, nullptr);
  EventLog log(stream);
  EXPECT_TRUE(log.WriteWithoutWaiting("stuck", {{"n", 1}}));
  const std::string filling(1 << 16, '.');
  while (write(ends[1], filling.data(), filling.size()) > 0) {
  }
  EXPECT_FALSE(log.WriteWithoutWaiting("stuck", {{"n", 2}}));
  char text[200] = {};
  ASSERT_GT(read(ends[0], text, sizeof text - 1), 0);
  EXPECT_NE(std::string(text).find("level=error event=stuck n=1\n"),
            std::string::npos);
  std::fclose(stream);
  close(ends[0]);
}

}  // namespace
}  // namespace heatkv::server
