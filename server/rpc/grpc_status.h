// The one function that turns our statuses into gRPC's, with machine-readable
// details (google.rpc.Status in grpc-status-details-bin).
//
// Thread safety: stateless.

#ifndef SERVER_RPC_GRPC_STATUS_H_
#define SERVER_RPC_GRPC_STATUS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace heatkv::server {

// One thing that is wrong with a request.
struct FieldViolation {
  std::string field;        // "size.aspect"
  std::string description;  // says what was given and what is legal
};

// Long messages are cut, because a client takes no more than 8 KiB of trailers.
// Codes map one to one.  A retry hint (server/engine/retry_hint.h) becomes
// google.rpc.RetryInfo.
grpc::Status ToGrpcStatus(const absl::Status& status);

// InvalidArgument whose google.rpc.BadRequest lists `violations`, as many as
// fit and how many more there are, and whose message does too.  REQUIRES: there
// is one.
grpc::Status BadRequest(const std::vector<FieldViolation>& violations);

}  // namespace heatkv::server

#endif  // SERVER_RPC_GRPC_STATUS_H_
