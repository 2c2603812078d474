#include "server/rpc/grpc_status.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/engine/retry_hint.h"

namespace heatkv::server {
namespace {

// A client takes 8 KiB of trailers by default; the message travels twice, once
// in base 64 with the violations.
constexpr std::size_t kMaxMessage = 3200;
constexpr std::size_t kMaxMessageWithViolations = 1800;
constexpr std::size_t kMaxViolationBytes = 2200;  // all descriptions
constexpr std::size_t kMaxDescription = 1200;

// The first `most` bytes, cut between two characters, and how many are missing.
std::string Shortened(absl::string_view text, std::size_t most) {
  if (text.size() <= most) return std::string(text);
  while (most > 0 && (text[most] & 0xc0) == 0x80) --most;
  return absl::StrCat(text.substr(0, most), "... and ", text.size() - most,
                      " bytes more");
}

grpc::Status WithDetails(const google::rpc::Status& details) {
  return grpc::Status(static_cast<grpc::StatusCode>(details.code()),
                      details.message(), details.SerializeAsString());
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(Shortened(status.message(), kMaxMessage));
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

grpc::Status BadRequest(const std::vector<FieldViolation>& all) {
  // A trailer that is too large reaches nobody.
  std::vector<FieldViolation> violations;
  std::size_t bytes = 0;
  for (const FieldViolation& violation : all) {
    violations.push_back(
        {violation.field, Shortened(violation.description, kMaxDescription)});
    bytes += violation.field.size() + violations.back().description.size();
    if (bytes > kMaxViolationBytes) break;
  }
  if (all.size() > violations.size()) {
    violations.push_back(
        {violations.back().field,
         absl::StrCat("and ", all.size() - violations.size(), " more")});
  }
  google::rpc::BadRequest request;
  for (const FieldViolation& violation : violations) {
    auto* v = request.add_field_violations();
    v->set_field(violation.field);
    v->set_description(violation.description);
  }
  google::rpc::Status details;
  details.set_code(static_cast<int>(grpc::StatusCode::INVALID_ARGUMENT));
  details.set_message(Shortened(
      absl::StrJoin(violations, "; ",
                    [](std::string* out, const auto& v) {
                      absl::StrAppend(out, v.field, ": ", v.description);
                    }),
      kMaxMessageWithViolations));
  details.add_details()->PackFrom(request);
  return WithDetails(details);
}

}  // namespace heatkv::server
