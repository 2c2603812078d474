#include "model/torch_exceptions.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <new>

// Read by AddressSanitizer, where the tests are built with it: an allocation
// that is too large fails as it does elsewhere, instead of ending the program.
extern "C" const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}

namespace heatkv::model {
namespace {

using testing::HasSubstr;

TEST(TorchExceptionsTest, AMistakeInTorchIsInternalAndNamesTheWork) {
  const absl::Status status = WithoutExceptions("adding up", [] {
    at::matmul(at::zeros({2, 3}), at::zeros({2, 3}));
    return absl::OkStatus();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(status.message(), HasSubstr("adding up"));
}

TEST(TorchExceptionsTest, OutOfMemoryIsResourceExhausted) {
  const auto too_large =
      WithoutExceptions("allocating", []() -> absl::StatusOr<at::Tensor> {
        return at::empty({std::int64_t{1} << 46}, at::kFloat);
      });
  EXPECT_EQ(too_large.status().code(), absl::StatusCode::kResourceExhausted)
      << too_large.status();
  const auto device = WithoutExceptions("allocating", []() -> absl::Status {
    throw c10::OutOfMemoryError({__func__, __FILE__, __LINE__}, "device");
  });
  EXPECT_EQ(device.code(), absl::StatusCode::kResourceExhausted);
  const auto host = WithoutExceptions(
      "allocating", []() -> absl::Status { throw std::bad_alloc(); });
  EXPECT_EQ(host.code(), absl::StatusCode::kResourceExhausted);
}

TEST(TorchExceptionsTest, ResultsAndErrorsPassThrough) {
  EXPECT_EQ(
      *WithoutExceptions("counting", []() -> absl::StatusOr<int> { return 7; }),
      7);
  EXPECT_EQ(
      WithoutExceptions("counting", [] { return absl::AbortedError("no"); }),
      absl::AbortedError("no"));
}

}  // namespace
}  // namespace heatkv::model
