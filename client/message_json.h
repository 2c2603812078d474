// The JSON form of an answer of the server, with the protocol's field names.
//
// Thread safety: stateless.

#ifndef CLIENT_MESSAGE_JSON_H_
#define CLIENT_MESSAGE_JSON_H_

#include "absl/status/statusor.h"
#include "google/protobuf/message.h"
#include "nlohmann/json.hpp"

namespace heatkv::client {

// Protobuf's mapping: 64-bit numbers are text, bytes are base64, times RFC
// 3339. FailedPrecondition if the message carries details of a type that this
// program does not know.
absl::StatusOr<nlohmann::ordered_json> ToJsonValue(
    const google::protobuf::Message& message);

// Prints it on standard output, or why there is none on standard error.  The
// exit code (client/connection.h).
int PrintJson(const google::protobuf::Message& message);

}  // namespace heatkv::client

#endif  // CLIENT_MESSAGE_JSON_H_
