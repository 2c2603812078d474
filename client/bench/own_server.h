// A heatkv_server of a benchmark's own: started as a child on free ports of
// 127.0.0.1, awaited until it serves, stopped at the end.  It is gone when this
// process is: on a signal, on an error, and (client/bench/child_process.h) if
// this process is killed.
//
// A signal that ends this process (client/bench/interruption.h) stops the
// server first; from then on CheckRuns and Stop never return, so nobody reports
// what comes of a server that is being stopped.
//
// Thread safety: one thread, of which all others were born later, and which
// lives as long as the process.

#ifndef CLIENT_BENCH_OWN_SERVER_H_
#define CLIENT_BENCH_OWN_SERVER_H_

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/bench/child_process.h"
#include "client/bench/interruption.h"
#include "nlohmann/json.hpp"

namespace heatkv::client {

// Flags that are passed on to the server as they are; empty: not given.
struct OwnServerFlags {
  std::string model, random_weights, device, config, tokenizer, pool;
  std::filesystem::path program;  // empty: the one beside ours

  // Whether any of them is given.
  bool IsWanted() const;
};

// The words of the server's command line, but for where it listens.
std::vector<std::string> ServerArguments(const OwnServerFlags& flags);

// Of what a server wrote: its last lines, without events that are no warnings
// or errors if there are others.
std::string LastComplaints(const std::string& output);

class OwnServer {
 public:
  // How long it has been starting, and the last event that it logged.
  using OnWait =
      std::function<void(absl::Duration waited, const std::string& event)>;

  // Returns when the server's health service says that it serves, and calls
  // `on_wait` meanwhile, many times a second.  `our_folder` is where our own
  // program lies.
  //   InvalidArgument  the program cannot be run
  //   Unavailable      the server ended, with its last lines and how it ended,
  //                    or is not well
  static absl::StatusOr<std::unique_ptr<OwnServer>> Start(
      const OwnServerFlags& flags, const std::filesystem::path& our_folder,
      const OnWait& on_wait);

  ~OwnServer();

  OwnServer(const OwnServer&) = delete;
  OwnServer& operator=(const OwnServer&) = delete;

  // host:port
  const std::string& address() const { return address_; }
  const std::string& admin_address() const { return admin_address_; }

  // Unavailable, as above, if the server has ended.
  absl::Status CheckRuns();

  // Stops the server; Unavailable, as above, if it did not end with status 0.
  absl::Status Stop();

  // What was started: flags, or what stands for them in the configuration.
  nlohmann::ordered_json ToJson() const;

 private:
  OwnServer();

  absl::Status Launch(const OwnServerFlags& flags,
                      const std::filesystem::path& our_folder);
  absl::Status AwaitPorts(const OnWait& on_wait);
  ProcessEnd StopChild();  // with mutex_ held
  absl::Status Ended(const ProcessEnd& end) const;

  std::mutex mutex_;  // guards what the signal's thread uses: the next two
  std::unique_ptr<ChildProcess> child_;
  std::filesystem::path folder_;  // while it starts: its ports, its log
  std::filesystem::path program_;
  std::string address_, admin_address_;
  nlohmann::ordered_json description_;
  std::unique_ptr<Interruption> interruption_;
};

}  // namespace heatkv::client

#endif  // CLIENT_BENCH_OWN_SERVER_H_
