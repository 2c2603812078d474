#include "client/bench/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace heatkv::client {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(5);
constexpr int kNoProgram = 127;  // what a shell returns then

absl::Status NoChild(const char* what) {
  return absl::InternalError(absl::StrCat(what, ": ", std::strerror(errno)));
}

// The file of `descriptor`, -1 if that is none, by a number beyond the standard
// streams': those that were closed would come first, and be written over in the
// child.
int BeyondStreams(int descriptor) {
  if (descriptor < 0 || descriptor > STDERR_FILENO) return descriptor;
  const int moved = fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  close(descriptor);
  return moved;
}

// Between fork and exec only what may be called in a signal handler is allowed.
// Writes errno to `failed` if the program cannot be run.
[[noreturn]] void BecomeProgram(pid_t parent, int output, int failed,
                                char* const* arguments) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(kNoProgram);  // it died before that
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int empty = open("/dev/null", O_RDONLY);
  if (empty >= 0 && dup2(empty, STDIN_FILENO) >= 0 &&
      dup2(output, STDOUT_FILENO) >= 0 && dup2(output, STDERR_FILENO) >= 0) {
    if (empty > STDERR_FILENO) close(empty);
    execv(arguments[0], arguments);
  }
  const int error = errno;
  [[maybe_unused]] const ssize_t told = write(failed, &error, sizeof(error));
  _exit(kNoProgram);
}

ProcessEnd EndOf(int status) {
  if (WIFSIGNALED(status)) return {.signal = WTERMSIG(status)};
  return {.exit_code = WEXITSTATUS(status)};
}

}  // namespace

std::string Describe(const ProcessEnd& end) {
  if (end.signal == 0) return absl::StrCat("exit status ", end.exit_code);
  return absl::StrCat("signal ", end.signal, " (", strsignal(end.signal), ")");
}

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(
    const std::filesystem::path& program,
    const std::vector<std::string>& arguments,
    const std::filesystem::path& output) {
  std::vector<std::string> words = {program.string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  // If we were started so that nobody waits for children, we could not either.
  std::signal(SIGCHLD, SIG_DFL);
  const int file = BeyondStreams(
      open(output.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (file < 0) return NoChild(output.c_str());
  int failed[2];  // closed by a good exec
  if (pipe2(failed, O_CLOEXEC) != 0) {
    const absl::Status status = NoChild("no pipe");
    close(file);
    return status;
  }
  for (int& end : failed) end = BeyondStreams(end);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) BecomeProgram(parent, file, failed[1], argv.data());
  const int fork_error = errno;
  close(failed[1]);
  int error = 0;
  ssize_t told = 0;
  do {
    told = pid < 0 ? 0 : read(failed[0], &error, sizeof(error));
  } while (told < 0 && errno == EINTR);
  close(failed[0]);
  if (pid < 0) {
    close(file);
    errno = fork_error;
    return NoChild("no process");
  }
  std::unique_ptr<ChildProcess> child(new ChildProcess(pid, file));
  if (told == sizeof(error)) {
    return absl::InvalidArgumentError(absl::StrCat(
        program.string(), ": cannot be run: ", std::strerror(error)));
  }
  return child;
}

ChildProcess::~ChildProcess() {
  if (!Poll().has_value()) {
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  close(output_);
}

std::optional<ProcessEnd> ChildProcess::Poll() {
  int status = 0;
  if (!end_.has_value() && waitpid(pid_, &status, WNOHANG) == pid_) {
    end_ = EndOf(status);
  }
  return end_;
}

ProcessEnd ChildProcess::Stop(absl::Duration again, absl::Duration patience) {
  const absl::Time begin = absl::Now();
  absl::Time next = begin;
  while (!Poll().has_value()) {
    const absl::Time now = absl::Now();
    if (now - begin > patience) {
      kill(pid_, SIGKILL);
    } else if (now >= next) {
      kill(pid_, SIGTERM);
      next = now + again;
    }
    absl::SleepFor(kPollInterval);
  }
  return *end_;
}

std::string ChildProcess::LastOutput(std::size_t bytes) const {
  struct stat file = {};
  if (fstat(output_, &file) != 0) return "";
  const auto size = static_cast<std::size_t>(file.st_size);
  std::string text(std::min(bytes, size), '\0');
  const ssize_t read = pread(output_, text.data(), text.size(),
                             static_cast<off_t>(size - text.size()));
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(read, 0)));
  return text;
}

}  // namespace heatkv::client
