#include "server/rpc/grpc_status.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/engine/retry_hint.h"

namespace heatkv::server {
namespace {

grpc::Status WithDetails(const google::rpc::Status& details) {
  return grpc::Status(static_cast<grpc::StatusCode>(details.code()),
                      details.message(), details.SerializeAsString());
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(std::string(status.message()));
  if (const auto after = RetryHint(status)) {
    google::rpc::RetryInfo info;
    const std::int64_t milliseconds = absl::ToInt64Milliseconds(*after);
    info.mutable_retry_delay()->set_seconds(milliseconds / 1000);
    info.mutable_retry_delay()->set_nanos(
        static_cast<int>(milliseconds % 1000 * 1'000'000));
    details.add_details()->PackFrom(info);
  }
  return WithDetails(details);
}

grpc::Status BadRequest(const std::vector<FieldViolation>& violations) {
  google::rpc::BadRequest request;
  for (const FieldViolation& violation : violations) {
    auto* v = request.add_field_violations();
    v->set_field(violation.field);
    v->set_description(violation.description);
  }
  google::rpc::Status details;
  details.set_code(static_cast<int>(grpc::StatusCode::INVALID_ARGUMENT));
  details.set_message(
      absl::StrJoin(violations, "; ", [](std::string* out, const auto& v) {
        absl::StrAppend(out, v.field, ": ", v.description);
      }));
  details.add_details()->PackFrom(request);
  return WithDetails(details);
}

}  // namespace heatkv::server
