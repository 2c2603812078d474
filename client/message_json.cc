#include "client/message_json.h"

#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/connection.h"
#include "google/protobuf/util/json_util.h"

namespace heatkv::client {

absl::StatusOr<nlohmann::ordered_json> ToJsonValue(
    const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  const auto status =
      google::protobuf::util::MessageToJsonString(message, &text, options);
  if (!status.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the answer has no JSON form: ", std::string(status.message())));
  }
  return nlohmann::ordered_json::parse(text);
}

int PrintJson(const google::protobuf::Message& message) {
  const auto json = ToJsonValue(message);
  if (!json.ok()) {
    std::cerr << "heatkv: " << json.status().message() << "\n";
    return kExitFailed;
  }
  std::cout << json->dump(2) << "\n";
  return kExitOk;
}

}  // namespace heatkv::client
