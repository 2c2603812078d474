#include "model/api/flop_count.h"

#include <gtest/gtest.h>

#include <vector>

#include "cache/heatkv_solver.h"
#include "model/api/random_ranking.h"

namespace heatkv::model {
namespace {

constexpr double kTera = 1e12;

std::vector<cache::Grid> SquareGrids() {
  std::vector<cache::Grid> grids;
  for (const int side : {1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64}) {
    grids.push_back({side, side});
  }
  return grids;
}

cache::ScaleLadder SquareLadder() {
  return cache::ScaleLadder::Create(SquareGrids(), /*sink_scales=*/3).value();
}

TransformerSpec Of(int depth, int width, int heads, int bits, bool patchify) {
  TransformerSpec spec;
  spec.depth = depth;
  spec.width = width;
  spec.heads = heads;
  spec.mlp_width = 4 * width;
  spec.bits = bits;
  spec.patchify = patchify;
  return spec;
}

TransformerSpec Infinity2B() { return Of(32, 2048, 16, 32, false); }
TransformerSpec Infinity8B() { return Of(40, 3584, 28, 14, true); }

ScaleFlops SumWithFullCache(const TransformerSpec& spec) {
  const cache::Schedule full =
      cache::FullSchedule(SquareLadder(), spec.depth, spec.heads);
  ScaleFlops sum;
  for (int scale = 0; scale < 13; ++scale) {
    const ScaleFlops flops = FlopsOfScale(spec, full, scale, 2, 50);
    sum.products += flops.products;
    sum.self_attention += flops.self_attention;
    sum.cross_attention += flops.cross_attention;
    sum.ends += flops.ends;
  }
  return sum;
}

// The tables of the specification, section 8.1.
TEST(FlopCount, CountsAnImageOfInfinity2B) {
  const ScaleFlops sum = SumWithFullCache(Infinity2B());
  EXPECT_NEAR(sum.products / kTera, 79.08, 0.005);
  EXPECT_NEAR(sum.self_attention / kTera, 35.91, 0.005);
  EXPECT_NEAR(sum.cross_attention / kTera, 0.276, 0.0005);
  EXPECT_NEAR(2 * FlopsOfTextKeys(Infinity2B(), 50) / kTera, 0.054, 0.0005);
}

TEST(FlopCount, CountsAnImageOfInfinity8B) {
  const ScaleFlops sum = SumWithFullCache(Infinity8B());
  EXPECT_NEAR(sum.products / kTera, 302.7, 0.05);
  EXPECT_NEAR(sum.self_attention / kTera, 78.5, 0.05);
}

TEST(FlopCount, CountsTheLastScaleAlone) {
  const TransformerSpec spec = Infinity2B();
  const cache::Schedule full =
      cache::FullSchedule(SquareLadder(), spec.depth, spec.heads);
  const ScaleFlops last = FlopsOfScale(spec, full, 12, 2, 50);
  EXPECT_NEAR(last.products / kTera, 30.786, 0.0005);
  EXPECT_NEAR(last.self_attention / kTera, 22.594, 0.0005);
  EXPECT_DOUBLE_EQ(FlopsOfScale(spec, full, 12, 1, 50).total() * 2,
                   last.total());
}

TEST(FlopCount, CountsWhatAScheduleKept) {
  ModelSpec model;
  model.transformer = Infinity2B();
  model.ladders.push_back({.aspect = "1:1",
                           .pixel_class = "1M",
                           .rope_grid = {64, 64},
                           .ladder = SquareLadder()});
  const cache::Ranking ranking = RandomRanking(model, 1).value();
  const cache::Schedule pruned =
      cache::SolveHeatKv(SquareLadder(), 32, 16, ranking,
                         cache::Budget::Create(0.1).value())
          .value();
  const cache::Schedule full = cache::FullSchedule(SquareLadder(), 32, 16);
  const TransformerSpec& spec = model.transformer;
  // Nothing is gone yet when the first scale that may go is the last so far.
  EXPECT_EQ(FlopsOfScale(spec, pruned, 3, 2, 50).self_attention,
            FlopsOfScale(spec, full, 3, 2, 50).self_attention);
  // In the last scale, a head attends at least to the scale and the sinks.
  const double per_token = 4.0 * 2 * 4096 * 32 * 2048;
  const double least = per_token * (4096 + 21);
  const double most = FlopsOfScale(spec, full, 12, 2, 50).self_attention;
  const double kept = FlopsOfScale(spec, pruned, 12, 2, 50).self_attention;
  EXPECT_GE(kept, least);
  EXPECT_LT(kept, least + 0.2 * (most - least));
}

TEST(FlopCount, CountsDecodersAndTheTextEncoder) {
  VaeSpec vae;
  vae.base_channels = 128;
  vae.channel_multipliers = {1, 2, 4, 4, 4};
  EXPECT_NEAR(FlopsOfDecoding(vae, 32, 64 * 64) / kTera, 9.85, 0.005);
  vae.channel_multipliers = {1, 2, 4, 4};
  EXPECT_NEAR(FlopsOfDecoding(vae, 14, 128 * 128) / kTera, 9.89, 0.005);
  TextEncoderSpec t5;
  t5.width = 2048;
  t5.heads = 32;
  t5.head_width = 64;
  t5.layers = 24;
  t5.mlp_width = 5120;
  EXPECT_NEAR(FlopsOfTextEncoder(t5, 512) / kTera, 1.24, 0.005);
}

}  // namespace
}  // namespace heatkv::model
