#include "client/connection.h"

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"

namespace heatkv::client {
namespace {

// The first detail of type Detail, if the status carries one.
template <typename Detail>
bool FindDetail(const grpc::Status& status, Detail* found) {
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return false;
  for (const auto& any : details.details()) {
    if (any.UnpackTo(found)) return true;
  }
  return false;
}

// A channel that is connected, or nothing.
std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address,
                                           absl::Duration patience) {
  auto channel = grpc::CreateCustomChannel(
      address, grpc::InsecureChannelCredentials(), ChannelSettings());
  const auto until = absl::ToChronoTime(absl::Now() + patience);
  return channel->WaitForConnected(until) ? channel : nullptr;
}

}  // namespace

absl::StatusOr<Connection> Connection::Open(const std::string& server,
                                            absl::Duration patience) {
  const auto channel = OpenChannel(server, patience);
  if (channel != nullptr) return Over(channel);
  return absl::UnavailableError(absl::StrCat(
      "no server answers at ", server,
      ".\nStart one with `heatkv_server`, or say where it is with --server "
      "HOST:PORT or the environment variable HEATKV_SERVER."));
}

absl::StatusOr<std::unique_ptr<v1::Admin::Stub>> OpenAdmin(
    const std::string& address, absl::Duration patience) {
  const auto channel = OpenChannel(address, patience);
  if (channel != nullptr) return v1::Admin::NewStub(channel);
  return absl::UnavailableError(absl::StrCat(
      "no server answers at ", address,
      ".\nIt is the server's admin_listen; say where that is with --admin "
      "HOST:PORT or the environment variable HEATKV_ADMIN."));
}

grpc::ChannelArguments ChannelSettings() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);  // pictures of any size
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return arguments;
}

const char* CodeName(int code) {
  static constexpr const char* kNames[] = {"OK",
                                           "CANCELLED",
                                           "UNKNOWN",
                                           "INVALID_ARGUMENT",
                                           "DEADLINE_EXCEEDED",
                                           "NOT_FOUND",
                                           "ALREADY_EXISTS",
                                           "PERMISSION_DENIED",
                                           "RESOURCE_EXHAUSTED",
                                           "FAILED_PRECONDITION",
                                           "ABORTED",
                                           "OUT_OF_RANGE",
                                           "UNIMPLEMENTED",
                                           "INTERNAL",
                                           "UNAVAILABLE",
                                           "DATA_LOSS",
                                           "UNAUTHENTICATED"};
  const bool is_known = code >= 0 && code < static_cast<int>(std::size(kNames));
  return is_known ? kNames[code] : "UNKNOWN";
}

std::string DescribeFailure(const grpc::Status& status) {
  google::rpc::BadRequest bad;
  std::string text = CodeName(status.error_code());
  if (!FindDetail(status, &bad)) {
    return absl::StrCat(text, ": ", status.error_message());
  }
  for (const auto& violation : bad.field_violations()) {
    absl::StrAppend(&text, "\n  ", violation.field(), ": ",
                    violation.description());
  }
  return text;
}

absl::Duration RetryDelay(const grpc::Status& status) {
  google::rpc::RetryInfo info;
  if (status.error_code() != grpc::StatusCode::RESOURCE_EXHAUSTED ||
      !FindDetail(status, &info)) {
    return absl::ZeroDuration();
  }
  return absl::Seconds(info.retry_delay().seconds()) +
         absl::Nanoseconds(info.retry_delay().nanos());
}

int ExitCode(const grpc::Status& status) {
  if (status.ok()) return kExitOk;
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ? kExitUnreachable
                                                              : kExitFailed;
}

}  // namespace heatkv::client
