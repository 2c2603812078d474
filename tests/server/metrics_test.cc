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
  options.weights = "random, seed 1";
  options.geometry = kGeometry;
  options.scales = 5;
  options.tiers = {"full", "high"};
  options.tenants = {"studio"};
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
                              "version=\"1.2.3\",weights=\"random, seed 1\"} "
                              "1\n"));
}

TEST(MetricsTest, ShowsWhatEveryPartWasPlannedToTake) {
  MetricsOptions options = Options();
  options.memory = {{.device = "cuda:0",
                     .available = 100,
                     .parts = {{.name = "transformer", .bytes = 60},
                               {.name = "block pool", .bytes = 25}}},
                    {.device = "cpu",
                     .available = 10,
                     .parts = {{.name = "text encoder", .bytes = 4}}}};
  const std::string text = Text(Metrics(options));
  for (const char* line : {"{device=\"cuda:0\",part=\"transformer\"} 60\n",
                           "{device=\"cuda:0\",part=\"block pool\"} 25\n",
                           "{device=\"cuda:0\",part=\"left\"} 15\n",
                           "{device=\"cpu\",part=\"text encoder\"} 4\n",
                           "{device=\"cpu\",part=\"left\"} 6\n"}) {
    EXPECT_THAT(text,
                HasSubstr(std::string("heatkv_memory_planned_bytes") + line));
  }
}

TEST(MetricsTest, EachScrapeShowsTheEngineAsItIs) {
  Metrics metrics(Options());
  EngineStats stats;
  stats.geometry = kGeometry;
  stats.capacity_blocks = 100;
  stats.limit_blocks = 20;
  stats.effective_limit_blocks = 30;
  stats.peak_sum_blocks = 45;
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
        "heatkv_kv_pool_bytes{gpu=\"0\",state=\"free\"} 9216\n",
        "heatkv_kv_pool_capacity_bytes{gpu=\"0\"} 102400\n",
        "heatkv_kv_pool_limit_bytes{gpu=\"0\"} 20480\n",
        "heatkv_kv_pool_effective_limit_bytes{gpu=\"0\"} 30720\n",
        "heatkv_kv_pool_peak_sum_bytes{gpu=\"0\"} 46080\n",
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

TEST(MetricsTest, EachOfSeveralDevicesHasGaugesOfItsOwn) {
  MetricsOptions options = Options();
  options.devices = {{"cuda:0", 0}, {"cuda:3", 3}};
  Metrics metrics(options);
  EngineStats stats;
  stats.geometry = kGeometry;
  stats.devices.resize(2);
  for (int d = 0; d < 2; ++d) {
    DeviceStats& device = stats.devices[d];
    device.used_blocks = 6 + d;
    device.effective_limit_blocks = 10;
    device.head_blocks = {1, 1, 1, 1, 1, 1 + d};
    device.running_images = 2 + d;
    device.model_is_well = d == 0;
    stats.running_images += device.running_images;
  }
  metrics.SetSource([&] { return stats; });
  const std::string text = Text(metrics);
  for (const char* line :
       {"heatkv_kv_pool_bytes{gpu=\"0\",state=\"used\"} 6144\n",
        "heatkv_kv_pool_bytes{gpu=\"3\",state=\"used\"} 7168\n",
        "heatkv_kv_pool_bytes{gpu=\"3\",state=\"free\"} 3072\n",
        "heatkv_cache_bytes{gpu=\"3\",head=\"2\",layer=\"1\"} 2048\n",
        "heatkv_images_running 5\n",
        "heatkv_device_images_running{device=\"cuda:3\",gpu=\"3\"} 3\n",
        "heatkv_device_up{device=\"cuda:0\",gpu=\"0\"} 1\n",
        "heatkv_device_up{device=\"cuda:3\",gpu=\"3\"} 0\n",
        "heatkv_model_up 1\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(Text(Metrics(Options())), Not(HasSubstr("heatkv_device_")));
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

TEST(MetricsTest, EveryKnownLabelIsThereBeforeAnythingHappens) {
  const Metrics metrics(Options());
  const std::string text = Text(metrics);
  for (const char* line :
       {"heatkv_cancel_to_release_seconds_count{cause=\"client\"} 0\n",
        "heatkv_cancel_to_release_seconds_count{cause=\"deadline\"} 0\n",
        "heatkv_cancel_to_release_seconds_count{cause=\"stall\"} 0\n",
        "heatkv_cancel_to_release_seconds_count{cause=\"shutdown\"} 0\n",
        "heatkv_cancel_to_release_seconds_count{cause=\"failure\"} 0\n",
        "heatkv_refusals_total{reason=\"queue_full\"} 0\n",
        "heatkv_refusals_total{reason=\"bytes_full\"} 0\n",
        "heatkv_refusals_total{reason=\"deadline\"} 0\n",
        "heatkv_refusals_total{reason=\"never_fits\"} 0\n",
        "heatkv_refusals_total{reason=\"draining\"} 0\n",
        "heatkv_lower_tier_total 0\n",
        "heatkv_step_images_count 0\n",
        "heatkv_first_picture_seconds_count 0\n",
        "heatkv_scale_duration_seconds_count{scale=\"5\"} 0\n",
        "heatkv_stage_duration_seconds_count{stage=\"text\"} 0\n",
        "heatkv_tenant_byte_seconds_total{tenant=\"studio\"} 0\n",
        "heatkv_tenant_byte_seconds_total{tenant=\"other\"} 0\n",
        "heatkv_images_total{code=\"OK\",tier=\"full\"} 0\n",
        "heatkv_requests_total{code=\"ABORTED\",rpc=\"GenerateImageStream\","
        "tier=\"high\"} 0\n",
        "heatkv_requests_total{code=\"INVALID_ARGUMENT\",rpc="
        "\"SubmitImage\",tier=\"\"} 0\n",
        "heatkv_request_duration_seconds_count{tier=\"high\"} 0\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(MetricsTest, ReleasesAreMeasuredFromAMillisecondToTenSeconds) {
  Metrics metrics(Options());
  metrics.OnRelease(EndCause::kStall, absl::Microseconds(900));
  metrics.OnRelease(EndCause::kStall, absl::Milliseconds(15));
  metrics.OnRelease(EndCause::kStall, absl::Seconds(9));
  const std::string text = Text(metrics);
  const std::string name = "heatkv_cancel_to_release_seconds_bucket";
  EXPECT_THAT(text, HasSubstr(name + "{cause=\"stall\",le=\"0.001\"} 1\n"));
  EXPECT_THAT(text, HasSubstr(name + "{cause=\"stall\",le=\"0.02\"} 2\n"));
  EXPECT_THAT(text, HasSubstr(name + "{cause=\"stall\",le=\"5\"} 2\n"));
  EXPECT_THAT(text, HasSubstr(name + "{cause=\"stall\",le=\"10\"} 3\n"));
  EXPECT_THAT(text, HasSubstr(name + "{cause=\"client\",le=\"10\"} 0\n"));
}

TEST(MetricsTest, CountsStepsPicturesRefusalsAndLowerTiers) {
  Metrics metrics(Options());
  metrics.OnStep(1);
  metrics.OnStep(3);
  metrics.OnStep(16);
  metrics.OnFirstPicture(absl::Milliseconds(300));
  metrics.OnRefusal(Refusal::kNeverFits);
  metrics.OnLowerTier();
  const std::string text = Text(metrics);
  for (const char* line :
       {"heatkv_step_images_bucket{le=\"1\"} 1\n",
        "heatkv_step_images_bucket{le=\"2\"} 1\n",
        "heatkv_step_images_bucket{le=\"4\"} 2\n",
        "heatkv_step_images_bucket{le=\"8\"} 2\n",
        "heatkv_step_images_bucket{le=\"16\"} 3\n",
        "heatkv_step_images_sum 20\n",
        "heatkv_first_picture_seconds_bucket{le=\"0.2\"} 0\n",
        "heatkv_first_picture_seconds_bucket{le=\"0.5\"} 1\n",
        "heatkv_refusals_total{reason=\"never_fits\"} 1\n",
        "heatkv_lower_tier_total 1\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(MetricsTest, TenantsThatNobodyNamedCountAsOther) {
  Metrics metrics(Options());
  metrics.OnCharge("studio", 2);
  metrics.OnCharge("", 3);
  metrics.OnCharge("nightly", 4);
  EXPECT_THAT(Text(metrics),
              HasSubstr("heatkv_tenant_byte_seconds_total{tenant=\"other\"} "
                        "7\n"));
  metrics.SetTenants({"nightly"});
  metrics.OnCharge("nightly", 5);
  metrics.OnCharge("studio", 1);
  const std::string text = Text(metrics);
  for (const char* line : {"{tenant=\"studio\"} 2\n", "{tenant=\"other\"} 8\n",
                           "{tenant=\"nightly\"} 5\n"}) {
    EXPECT_THAT(
        text,
        HasSubstr(std::string("heatkv_tenant_byte_seconds_total") + line));
  }
}

TEST(MetricsTest, ATierThatComesLaterHasItsSeriesAtOnce) {
  Metrics metrics(Options());
  EXPECT_THAT(Text(metrics), Not(HasSubstr("tier=\"mini\"")));
  metrics.SetTiers({"full", "mini"});
  const std::string text = Text(metrics);
  EXPECT_THAT(text, HasSubstr("heatkv_images_total{code=\"OK\",tier=\"mini\"}"
                              " 0\n"));
  EXPECT_THAT(text, HasSubstr("tier=\"high\""));
}

TEST(MetricsTest, NoSeriesGrowsWithRequests) {
  Metrics metrics(Options());
  CallRecord call;
  call.rpc = "GenerateImage";
  metrics.OnCall(call);
  const std::string before = Text(metrics);
  for (int i = 0; i < 100; ++i) {
    call.request_id = std::to_string(i);
    metrics.OnCharge("tenant " + std::to_string(i), 1);
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
