#include "client/connection.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"

namespace heatkv::client {
namespace {

const char* CodeName(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::OK:
      return "OK";
    case grpc::StatusCode::CANCELLED:
      return "CANCELLED";
    case grpc::StatusCode::INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return "DEADLINE_EXCEEDED";
    case grpc::StatusCode::NOT_FOUND:
      return "NOT_FOUND";
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return "RESOURCE_EXHAUSTED";
    case grpc::StatusCode::FAILED_PRECONDITION:
      return "FAILED_PRECONDITION";
    case grpc::StatusCode::UNIMPLEMENTED:
      return "UNIMPLEMENTED";
    case grpc::StatusCode::INTERNAL:
      return "INTERNAL";
    case grpc::StatusCode::UNAVAILABLE:
      return "UNAVAILABLE";
    default:
      return "UNKNOWN";
  }
}

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

}  // namespace

absl::StatusOr<Connection> Connection::Open(const std::string& server,
                                            absl::Duration patience) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);  // pictures of any size
  const std::shared_ptr<grpc::Channel> channel = grpc::CreateCustomChannel(
      server, grpc::InsecureChannelCredentials(), arguments);
  if (!channel->WaitForConnected(absl::ToChronoTime(absl::Now() + patience))) {
    return absl::UnavailableError(absl::StrCat(
        "no server answers at ", server,
        ".\nStart one with `heatkv_server`, or say where it is with --server "
        "HOST:PORT or the environment variable HEATKV_SERVER."));
  }
  return Connection(v1::ImageGeneration::NewStub(channel));
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
