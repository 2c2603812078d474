// Another program that runs as our child and never outlives us.  Its standard
// input is empty; what it says on standard output and error goes to a file.  It
// is in a process group of its own: Ctrl-C reaches us alone, and we decide.
//
// If this process dies, however it does, the kernel kills the child
// (PR_SET_PDEATHSIG).  The kernel counts the thread that started the child as
// its parent, so that must be one that lives as long as the process.
//
// Thread safety: one thread at a time.

#ifndef CLIENT_BENCH_CHILD_PROCESS_H_
#define CLIENT_BENCH_CHILD_PROCESS_H_

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace heatkv::client {

// How a process ended: what it returned, or the signal that ended it.
struct ProcessEnd {
  int exit_code = 0;
  int signal = 0;  // 0: none

  bool ok() const { return exit_code == 0 && signal == 0; }
};

// "exit status 2" or "signal 9 (Killed)"
std::string Describe(const ProcessEnd& end);

class ChildProcess {
 public:
  // `arguments` without the program's name; `output` is created.
  //   InvalidArgument  there is no such program, or it cannot be run
  //   Internal         no file or no process could be had
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(
      const std::filesystem::path& program,
      const std::vector<std::string>& arguments,
      const std::filesystem::path& output);

  // Kills it if it still runs.
  ~ChildProcess();

  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // How it ended, if it has.
  std::optional<ProcessEnd> Poll();

  // Asks it to end with SIGTERM, once more every `again`, and kills it after
  // `patience`.  How it ended.
  ProcessEnd Stop(absl::Duration again, absl::Duration patience);

  // The end of what it said so far, also if the file was removed.
  std::string LastOutput(std::size_t bytes) const;

 private:
  ChildProcess(pid_t pid, int output) : pid_(pid), output_(output) {}

  pid_t pid_;
  int output_;
  std::optional<ProcessEnd> end_;
};

}  // namespace heatkv::client

#endif  // CLIENT_BENCH_CHILD_PROCESS_H_
