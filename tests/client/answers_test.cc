#include "client/estimate_command.h"
#include "client/job_command.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv::client {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(EstimateTextTest, ShowsEveryScaleAndWhatItComesTo) {
  v1::EstimateImageResponse estimate;
  v1::ScaleEstimate& scale = *estimate.add_scales();
  scale.set_scale(1);
  scale.set_grid_height(2);
  scale.set_grid_width(3);
  scale.set_peak_bytes(2048);
  scale.set_held_bytes(1024);
  estimate.set_tier("high");
  estimate.set_peak_bytes(1 << 20);
  estimate.set_full_cache_bytes(4 << 20);
  estimate.set_reason("3 requests wait");
  estimate.set_requests_ahead(3);
  std::string text = EstimateText(estimate);
  EXPECT_THAT(
      text,
      HasSubstr(
          "    1       2x3      2.0 KiB      1.0 KiB    not known\n"
          "tier high: 1.0 MiB an image at its peak, 25.0 % of the full cache "
          "of 4.0 MiB\n"
          "would wait: 3 requests wait; 3 ahead, expected wait not known, then "
          "not known"));

  estimate.set_admissible_now(true);
  estimate.mutable_expected_run()->set_nanos(500000000);
  text = EstimateText(estimate);
  EXPECT_THAT(text, HasSubstr("would start now"));
  EXPECT_THAT(text, HasSubstr("then 0.500 s"));
}

TEST(JobTextTest, ShowsStateImagesAndError) {
  v1::ImageJob job;
  job.set_job_id("j1");
  job.set_state(v1::JOB_STATE_RUNNING);
  job.set_images_asked(3);
  job.add_images();
  job.set_tier("high");
  EXPECT_THAT(JobText(job),
              HasSubstr("job j1: running, 1 of 3 images, tier high\n"));
  EXPECT_THAT(JobText(job), Not(HasSubstr("kept until")));

  job.set_state(v1::JOB_STATE_FAILED);
  job.mutable_error()->set_code(13);
  job.mutable_error()->set_message("the model failed");
  job.mutable_expire_time()->set_seconds(1);
  EXPECT_THAT(JobText(job), HasSubstr("failed"));
  EXPECT_THAT(JobText(job), HasSubstr("kept until"));
  EXPECT_THAT(JobText(job), HasSubstr("INTERNAL: the model failed\n"));
}

}  // namespace
}  // namespace heatkv::client
