#include "server/metrics/metrics.h"

#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/text_serializer.h"

namespace heatkv::server {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr cache::CacheGeometry kGeometry{2, 3, 8, 4};  // 1024 bytes a block

std::string Text(const Metrics& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.Collect());
}

MetricsOptions Options() {
  MetricsOptions options;
  options.version = "1.2.3";
  options.model = "fake";
  options.geometry = kGeometry;
  return options;
}

TEST(MetricsTest, HasASeriesForEveryHeadBeforeAnythingHappens) {
  const Metrics metrics(Options());
  const std::string text = Text(metrics);
  for (const char* layer : {"0", "1"}) {
    for (const char* head : {"0", "1", "2"}) {
      std::ostringstream line;
      line << "heatkv_cache_bytes{gpu=\"0\",head=\"" << head << "\",layer=\""
           << layer << "\"} 0\n";
      EXPECT_THAT(text, HasSubstr(line.str()));
    }
  }
  EXPECT_THAT(text, HasSubstr("heatkv_build_info{model=\"fake\","
                              "version=\"1.2.3\"} 1\n"));
}

TEST(MetricsTest, EachScrapeShowsTheEngineAsItIs) {
  Metrics metrics(Options());
  EngineStats stats;
  stats.geometry = kGeometry;
  stats.capacity_blocks = 100;
  stats.reserved_blocks = 30;
  stats.used_blocks = 21;
  stats.high_water_blocks = 25;
  stats.head_blocks = {1, 2, 3, 4, 5, 6};
  stats.running_images = 2;
  stats.waiting_requests = 7;
  stats.oldest_wait = absl::Milliseconds(1500);
  metrics.SetSource([&] { return stats; });
  std::string text = Text(metrics);
  for (const char* line :
       {"heatkv_kv_pool_bytes{gpu=\"0\",state=\"used\"} 21504\n",
        "heatkv_kv_pool_bytes{gpu=\"0\",state=\"reserved\"} 9216\n",
        "heatkv_kv_pool_bytes{gpu=\"0\",state=\"free\"} 71680\n",
        "heatkv_kv_pool_limit_bytes{gpu=\"0\"} 102400\n",
        "heatkv_kv_pool_high_water_bytes{gpu=\"0\"} 25600\n",
        "heatkv_plan_error_bytes{gpu=\"0\"} 0\n",
        "heatkv_cache_bytes{gpu=\"0\",head=\"1\",layer=\"1\"} 5120\n",
        "heatkv_images_running 2\n", "heatkv_requests_waiting 7\n",
        "heatkv_queue_oldest_age_seconds 1.5\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  stats.plan_error_blocks = -1;
  EXPECT_THAT(Text(metrics),
              HasSubstr("heatkv_plan_error_bytes{gpu=\"0\"} -1024\n"));
}

TEST(MetricsTest, CountsCallsByMethodCodeAndTier) {
  Metrics metrics(Options());
  CallRecord call;
  call.rpc = "GenerateImage";
  call.tier = "high";
  call.images_asked = 1;
  call.took = absl::Seconds(1);
  metrics.OnCall(call);
  metrics.OnCall(call);
  call.status = absl::ResourceExhaustedError("full");
  metrics.OnCall(call);
  metrics.OnImage("high", absl::OkStatus());
  metrics.OnScale(0, absl::Milliseconds(2));
  metrics.OnStage(Stage::kDecode, absl::Milliseconds(50));
  const std::string text = Text(metrics);
  EXPECT_THAT(text, HasSubstr("heatkv_requests_total{code=\"OK\",rpc="
                              "\"GenerateImage\",tier=\"high\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("heatkv_requests_total{code=\"RESOURCE_EXHAUSTED"
                              "\",rpc=\"GenerateImage\",tier=\"high\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("heatkv_images_total{code=\"OK\",tier=\"high\"} "
                              "1\n"));
  EXPECT_THAT(text, HasSubstr("heatkv_request_duration_seconds_count{tier="
                              "\"high\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("heatkv_scale_duration_seconds_count{scale=\"1\"}"
                              " 1\n"));
  EXPECT_THAT(text, HasSubstr("heatkv_stage_duration_seconds_bucket{stage="
                              "\"decode\",le=\"0.1\"} 1\n"));
}

TEST(MetricsTest, NoSeriesGrowsWithRequests) {
  Metrics metrics(Options());
  CallRecord call;
  call.rpc = "GenerateImage";
  metrics.OnCall(call);
  const std::string before = Text(metrics);
  for (int i = 0; i < 100; ++i) {
    call.request_id = std::to_string(i);
    call.tags["user"] = std::to_string(i);
    metrics.OnCall(call);
  }
  const std::string after = Text(metrics);
  EXPECT_EQ(std::count(before.begin(), before.end(), '\n'),
            std::count(after.begin(), after.end(), '\n'));
}

TEST(MetricsEndpointTest, ListensAtAFreePortAndNamesOneInUse) {
  MetricsOptions options = Options();
  options.listen = "127.0.0.1:0";
  const auto endpoint = MetricsEndpoint::Start(options);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  EXPECT_GT((*endpoint)->port(), 0);
  options.listen = "127.0.0.1:" + std::to_string((*endpoint)->port());
  const auto second = MetricsEndpoint::Start(options);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr(options.listen));
}

}  // namespace
}  // namespace heatkv::server
