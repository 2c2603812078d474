#include "client/bench/child_process.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace heatkv::client {
namespace {

// What `/bin/sh -c script` writes.
std::string OutputOf(const std::string& script) {
  const std::filesystem::path file =
      std::filesystem::path(testing::TempDir()) / "child-output";
  std::filesystem::remove(file);
  auto child = ChildProcess::Start("/bin/sh", {"-c", script}, file);
  EXPECT_TRUE(child.ok()) << child.status();
  if (!child.ok()) return "";
  while (!(*child)->Poll().has_value()) absl::SleepFor(absl::Milliseconds(1));
  return (*child)->LastOutput(1000);
}

TEST(ChildProcessTest, SaysWhatItSaysAndReadsNothing) {
  EXPECT_EQ(OutputOf("echo out; echo err >&2; cat"), "out\nerr\n");
}

TEST(ChildProcessTest, HasItsStreamsWhereOursAreClosed) {
  const int input = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10);
  close(STDIN_FILENO);
  const std::string said = OutputOf(
      "echo out; echo err >&2; cat; test -e /proc/self/fd/0 && echo in");
  if (input >= 0) {
    dup2(input, STDIN_FILENO);
    close(input);
  }
  EXPECT_EQ(said, "out\nerr\nin\n");
}

}  // namespace
}  // namespace heatkv::client
