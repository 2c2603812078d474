#include "server/rpc/grpc_status.h"

#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "server/engine/retry_hint.h"

namespace heatkv::server {
namespace {

TEST(GrpcStatusTest, EveryCodeKeepsItsNumberAndMessage) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status =
        ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(code), "why"));
    EXPECT_EQ(status.error_code(), code);
    EXPECT_EQ(status.error_message(), "why");
    google::rpc::Status details;
    ASSERT_TRUE(details.ParseFromString(status.error_details()));
    EXPECT_EQ(details.code(), code);
    EXPECT_EQ(details.details_size(), 0);
  }
}

TEST(GrpcStatusTest, ARetryHintBecomesRetryInfo) {
  const grpc::Status status = ToGrpcStatus(WithRetryHint(
      absl::ResourceExhaustedError("full"), absl::Milliseconds(2500)));
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  ASSERT_EQ(details.details_size(), 1);
  google::rpc::RetryInfo info;
  ASSERT_TRUE(details.details(0).UnpackTo(&info));
  EXPECT_EQ(info.retry_delay().seconds(), 2);
  EXPECT_EQ(info.retry_delay().nanos(), 500'000'000);
}

TEST(GrpcStatusTest, ABadRequestListsEveryViolation) {
  const grpc::Status status = BadRequest({{"n", "too many"}, {"tier", "none"}});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "n: too many; tier: none");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  google::rpc::BadRequest bad;
  ASSERT_TRUE(details.details(0).UnpackTo(&bad));
  ASSERT_EQ(bad.field_violations_size(), 2);
  EXPECT_EQ(bad.field_violations(1).field(), "tier");
}

TEST(GrpcStatusTest, WhatIsWrongAThousandTimesFitsIntoATrailer) {
  const std::vector<FieldViolation> violations(
      1000, {"tags", std::string(100'000, 'x')});
  const grpc::Status status = BadRequest(violations);
  EXPECT_LT(status.error_message().size() + status.error_details().size(),
            8192);
  EXPECT_THAT(status.error_message(), testing::HasSubstr("bytes more"));
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  google::rpc::BadRequest bad;
  ASSERT_TRUE(details.details(0).UnpackTo(&bad));
  ASSERT_EQ(bad.field_violations_size(), 3);
  EXPECT_EQ(bad.field_violations(2).description(), "and 998 more");
}

TEST(GrpcStatusTest, LongMessagesAreCutBetweenCharacters) {
  std::string message;
  for (int i = 0; i < 10'000; ++i) message += "\u00e9";
  const grpc::Status status = ToGrpcStatus(absl::InternalError(message));
  EXPECT_LT(status.error_message().size() + status.error_details().size(),
            8192);
  EXPECT_EQ(status.error_message().find("...") % 2, 0);
}

TEST(RetryHintTest, AStatusWithoutAHintHasNone) {
  EXPECT_FALSE(RetryHint(absl::UnavailableError("x")).has_value());
}

}  // namespace
}  // namespace heatkv::server
