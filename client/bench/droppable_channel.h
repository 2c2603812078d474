// A connection that can be dropped as if its client's process had died: the
// socket is closed, nothing is said.  (A channel that gRPC opened itself first
// resets its streams, which is an orderly cancellation.)
//
// Thread safety: Drop may be called from any thread, once or more.

#ifndef CLIENT_BENCH_DROPPABLE_CHANNEL_H_
#define CLIENT_BENCH_DROPPABLE_CHANNEL_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"

namespace heatkv::client {

class DroppableChannel {
 public:
  // Connects to `address` (host:port) before it returns.
  //   InvalidArgument  the address is no host:port
  //   Unavailable      nobody answers there within `patience`
  static absl::StatusOr<std::unique_ptr<DroppableChannel>> Open(
      const std::string& address, absl::Duration patience);

  ~DroppableChannel();

  DroppableChannel(const DroppableChannel&) = delete;
  DroppableChannel& operator=(const DroppableChannel&) = delete;

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

  void Drop();

 private:
  DroppableChannel(int socket, std::shared_ptr<grpc::Channel> channel)
      : socket_(socket), channel_(std::move(channel)) {}

  int socket_;  // a second name of the channel's socket
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace heatkv::client

#endif  // CLIENT_BENCH_DROPPABLE_CHANNEL_H_
