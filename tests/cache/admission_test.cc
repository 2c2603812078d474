#include "cache/admission.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv::cache {
namespace {

AdmissionDecision Decide(std::int64_t capacity,
                         std::vector<RunningImage> running,
                         std::int64_t candidate) {
  return DecideAdmission(capacity, running, candidate);
}

TEST(AdmissionTest, AdmitsWhatFitsBesideThePeaksOfAllRunning) {
  EXPECT_EQ(Decide(100, {}, 100),
            (AdmissionDecision{AdmissionVerdict::kAdmit, 100, 100}));
  EXPECT_EQ(Decide(100, {{0, 30}, {10, 30}}, 40),
            (AdmissionDecision{AdmissionVerdict::kAdmit, 40, 40}));
}

TEST(AdmissionTest, WaitsWhileThePeaksLeaveTooFewBlocks) {
  EXPECT_EQ(Decide(100, {{0, 30}, {10, 30}}, 41),
            (AdmissionDecision{AdmissionVerdict::kWait, 41, 40}));
  EXPECT_EQ(Decide(100, {{0, 100}}, 1),
            (AdmissionDecision{AdmissionVerdict::kWait, 1, 0}));
}

TEST(AdmissionTest, NeverAdmitsMoreThanTheEmptyPool) {
  EXPECT_EQ(Decide(100, {}, 101),
            (AdmissionDecision{AdmissionVerdict::kNever, 101, 100}));
  EXPECT_EQ(Decide(100, {{0, 60}}, 101),
            (AdmissionDecision{AdmissionVerdict::kNever, 101, 100}));
}

TEST(AdmissionTest, ImageWithoutACacheAlwaysFits) {
  EXPECT_EQ(Decide(0, {}, 0).verdict, AdmissionVerdict::kAdmit);
}

TEST(AdmissionDeathTest, SnapshotThatContradictsItselfIsABug) {
  EXPECT_DEATH(Decide(10, {{5, 4}}, 1), "blocks_held <= image.peak_blocks");
  EXPECT_DEATH(Decide(10, {{0, 8}, {0, 8}}, 1), "more is promised");
}

}  // namespace
}  // namespace heatkv::cache
