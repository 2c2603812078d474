#include "bench/work_report.h"

#include <gtest/gtest.h>

#include "model/api/flop_count.h"

namespace heatkv::server {
namespace {

TEST(WorkReport, DividesOperationsByTimeAndRate) {
  model::ModelSpec spec;
  spec.transformer.depth = 2;
  spec.transformer.width = 64;
  spec.transformer.heads = 2;
  spec.transformer.mlp_width = 256;
  spec.transformer.bits = 8;
  spec.vae.base_channels = 32;
  spec.vae.channel_multipliers = {1, 2};
  const cache::ScaleLadder ladder =
      cache::ScaleLadder::Create({{1, 1}, {2, 2}, {4, 4}}, 1).value();
  const cache::Schedule schedule = cache::FullSchedule(ladder, 2, 2);
  MeasuredWork measured;
  measured.branches = 2;
  measured.text_tokens = 5;
  measured.seconds_per_image = 0.25;
  measured.scale_ms = {1, 2, 4};
  measured.images_in_step = {2, 2, 1};
  measured.decode_ms = 10;
  measured.text_ms = 0;
  measured.rate = 1e12;
  const nlohmann::json report = ReportWork(spec, schedule, measured);

  double sum = 0;
  for (int scale = 0; scale < 3; ++scale) {
    const double flops =
        model::FlopsOfScale(spec.transformer, schedule, scale, 2, 5).total();
    const int images = measured.images_in_step[scale];
    EXPECT_NEAR(report["scales"][scale]["share"],
                images * flops / (measured.scale_ms[scale] * 1e-3) / 1e12,
                1e-12);
    sum += flops;
  }
  // 4x4 cells, twice as large at the end.
  const double decoding = model::FlopsOfDecoding(spec.vae, 8, 16);
  EXPECT_NEAR(report["decode"]["share"], decoding / 0.01 / 1e12, 1e-12);
  EXPECT_EQ(report["text"]["share"], 0.0);  // took no time
  sum += decoding + model::FlopsOfTextKeys(spec.transformer, 5);
  EXPECT_NEAR(report["tflop_per_image"], sum / 1e12, 1e-12);
  EXPECT_NEAR(report["share_of_matrix_rate"], sum / 0.25 / 1e12, 1e-12);
}

}  // namespace
}  // namespace heatkv::server
