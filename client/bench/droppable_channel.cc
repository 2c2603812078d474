#include "client/bench/droppable_channel.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/connection.h"
#include "grpcpp/create_channel_posix.h"

namespace heatkv::client {
namespace {

// A connected socket, or -1 with errno set.
int ConnectTo(const addrinfo& address, absl::Duration patience) {
  const int fd = socket(address.ai_family, address.ai_socktype | SOCK_CLOEXEC,
                        address.ai_protocol);
  if (fd < 0) return -1;
  // Bounds connect() on Linux.
  const timeval limit = absl::ToTimeval(patience);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (connect(fd, address.ai_addr, address.ai_addrlen) != 0) {
    const int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  return fd;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DroppableChannel>> DroppableChannel::Open(
    const std::string& address, absl::Duration patience) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", address, "\" is no host:port"));
  }
  absl::string_view host = absl::string_view(address).substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int wrong =
      getaddrinfo(std::string(host).c_str(), address.substr(colon + 1).c_str(),
                  &hints, &found);
  if (wrong != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", address, "\": ", gai_strerror(wrong)));
  }
  int fd = -1;
  for (const addrinfo* one = found; one != nullptr && fd < 0;
       one = one->ai_next) {
    fd = ConnectTo(*one, patience);
  }
  const int error = errno;
  freeaddrinfo(found);
  if (fd < 0) {
    return absl::UnavailableError(absl::StrCat("no server answers at ", address,
                                               ": ", std::strerror(error)));
  }
  const int second = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return std::unique_ptr<DroppableChannel>(new DroppableChannel(
      second,
      grpc::CreateCustomInsecureChannelFromFd(address, fd, ChannelSettings())));
}

DroppableChannel::~DroppableChannel() { close(socket_); }

void DroppableChannel::Drop() { shutdown(socket_, SHUT_RDWR); }

}  // namespace heatkv::client
