#include "base/check.h"

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv {
namespace {

TEST(CheckDeathTest, FailedCheckNamesConditionAndMessage) {
  EXPECT_DEATH(HEATKV_CHECK(1 > 2) << "layer " << 7,
               "check failed: 1 > 2 layer 7");
}

TEST(CheckDeathTest, FailedComparisonShowsBothValues) {
  const int blocks = 3;
  EXPECT_DEATH(HEATKV_CHECK_EQ(blocks, 4), "blocks == 4 \\(3 vs. 4\\)");
}

TEST(CheckDeathTest, FailedStatusIsPrinted) {
  EXPECT_DEATH(HEATKV_CHECK_OK(absl::InternalError("arena is gone")),
               "arena is gone");
}

TEST(CheckTest, PassingChecksEvaluateTheirConditionOnce) {
  int evaluations = 0;
  HEATKV_CHECK(++evaluations > 0);
  HEATKV_CHECK_LE(1, 1);
  HEATKV_CHECK_OK(absl::OkStatus());
  EXPECT_EQ(evaluations, 1);
}

TEST(CheckTest, DanglingElseBindsToTheCallersIf) {
  bool else_taken = false;
  if (false)
    HEATKV_CHECK(true);
  else
    else_taken = true;
  EXPECT_TRUE(else_taken);
}

}  // namespace
}  // namespace heatkv
