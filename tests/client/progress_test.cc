#include "client/progress.h"

#include <cstdio>
#include <string>

#include "client/connection.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"

namespace heatkv::client {
namespace {

v1::GenerateImageEvent ScaleDone() {
  v1::GenerateImageEvent event;
  v1::ScaleDone& done = *event.mutable_scale_done();
  done.set_scale(5);
  done.set_scales(8);
  done.set_grid_height(6);
  done.set_grid_width(7);
  done.set_held_bytes(1258291);
  return event;
}

std::string Shown(ProgressStyle style) {
  std::FILE* stream = std::tmpfile();
  Progress progress(stream, style);
  progress.Show(ScaleDone());
  progress.EndLine();
  std::rewind(stream);
  char text[500] = {};
  const std::size_t size = std::fread(text, 1, sizeof text, stream);
  std::fclose(stream);
  return std::string(text, size);
}

TEST(ProgressTest, SaysWhichScaleIsDoneAndWhatItHolds) {
  EXPECT_EQ(DescribeEvent(ScaleDone()),
            "image 1: scale 5 of 8 (6x7), cache 1.2 MiB");
  EXPECT_EQ(DescribeEvent({}), "");
}

TEST(ProgressTest, DrawsOverOnlyOnATerminal) {
  EXPECT_EQ(Shown(ProgressStyle::kNone), "");
  EXPECT_EQ(Shown(ProgressStyle::kLines),
            "image 1: scale 5 of 8 (6x7), cache 1.2 MiB\n");
  EXPECT_EQ(Shown(ProgressStyle::kTerminal),
            "\r\033[K[###############.........] image 1: scale 5 of 8 (6x7), "
            "cache 1.2 MiB\r\033[K");
}

template <typename Detail>
grpc::Status WithDetail(grpc::StatusCode code, const Detail& detail) {
  google::rpc::Status status;
  status.set_code(code);
  status.add_details()->PackFrom(detail);
  return grpc::Status(code, "message", status.SerializeAsString());
}

TEST(ConnectionTest, DescribesEveryViolationOnItsLine) {
  google::rpc::BadRequest bad;
  for (const char* field : {"n", "tier"}) {
    auto* violation = bad.add_field_violations();
    violation->set_field(field);
    violation->set_description("is wrong");
  }
  EXPECT_EQ(
      DescribeFailure(WithDetail(grpc::StatusCode::INVALID_ARGUMENT, bad)),
      "INVALID_ARGUMENT\n  n: is wrong\n  tier: is wrong");
  EXPECT_EQ(DescribeFailure(grpc::Status(grpc::StatusCode::INTERNAL, "broken")),
            "INTERNAL: broken");
}

TEST(ConnectionTest, WaitsOnlyWhereTheServerAsksForIt) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(2);
  EXPECT_EQ(RetryDelay(WithDetail(grpc::StatusCode::RESOURCE_EXHAUSTED, info)),
            absl::Seconds(2));
  EXPECT_EQ(RetryDelay(WithDetail(grpc::StatusCode::UNAVAILABLE, info)),
            absl::ZeroDuration());
  EXPECT_EQ(RetryDelay(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "")),
            absl::ZeroDuration());
}

TEST(ConnectionTest, ExitCodesTellUnreachableFromFailed) {
  EXPECT_EQ(ExitCode(grpc::Status::OK), kExitOk);
  EXPECT_EQ(ExitCode(grpc::Status(grpc::StatusCode::UNAVAILABLE, "")),
            kExitUnreachable);
  EXPECT_EQ(ExitCode(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "")),
            kExitFailed);
}

}  // namespace
}  // namespace heatkv::client
