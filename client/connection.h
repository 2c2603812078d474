// The connection to a server, and what goes wrong with it in words that help.
//
// Thread safety: a Connection may be used by many threads at once.

#ifndef CLIENT_CONNECTION_H_
#define CLIENT_CONNECTION_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "grpcpp/support/channel_arguments.h"
#include "grpcpp/support/status.h"
#include "heatkv/v1/admin.grpc.pb.h"
#include "heatkv/v1/image_generation.grpc.pb.h"

namespace heatkv::client {

// What the commands return to the shell.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;       // the request, or a local file
inline constexpr int kExitUsage = 2;        // the command line
inline constexpr int kExitUnreachable = 3;  // nobody listens, or draining

class Connection {
 public:
  // A connection of its own, shared with no other Connection.  Fails with
  // Unavailable, saying what to do, if nobody answers at `server` (host:port)
  // within `patience`.
  static absl::StatusOr<Connection> Open(const std::string& server,
                                         absl::Duration patience);

  // Over a channel that somebody else opened.
  static Connection Over(const std::shared_ptr<grpc::Channel>& channel) {
    return Connection(v1::ImageGeneration::NewStub(channel));
  }

  v1::ImageGeneration::Stub& stub() const { return *stub_; }

 private:
  explicit Connection(std::shared_ptr<v1::ImageGeneration::Stub> stub)
      : stub_(std::move(stub)) {}

  // Shared by the copies of a connection.
  std::shared_ptr<v1::ImageGeneration::Stub> stub_;
};

// Opens a channel to the operator's port.  Fails with Unavailable as
// Connection::Open does.
absl::StatusOr<std::unique_ptr<v1::Admin::Stub>> OpenAdmin(
    const std::string& address, absl::Duration patience);

// What all channels of ours have in common.
grpc::ChannelArguments ChannelSettings();

// "OK", "INVALID_ARGUMENT", ...
const char* CodeName(int code);

// The failure of a call, over several lines if the server listed several
// violations:
//   INVALID_ARGUMENT
//     size: there is no size "9:9"; there are: 1:1 128 (128x128)
std::string DescribeFailure(const grpc::Status& status);

// How long the server asks to wait before trying again; zero if it does not
// say or if trying again makes no sense.
absl::Duration RetryDelay(const grpc::Status& status);

int ExitCode(const grpc::Status& status);

}  // namespace heatkv::client

#endif  // CLIENT_CONNECTION_H_
