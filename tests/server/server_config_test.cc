#include "server/config/server_config.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/config/capacity.h"
#include "server/config/device_names.h"
#include "server/config/yaml_map.h"
#include "tests/fakes/fake_model.h"

namespace heatkv::server {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string MistakesOf(const std::string& yaml) {
  const auto config = ParseServerConfig(yaml, "c.yaml");
  EXPECT_FALSE(config.ok());
  return std::string(config.status().message());
}

TEST(ServerConfigTest, AnEmptyFileIsTheDefaultConfiguration) {
  const auto config = ParseServerConfig("", "c.yaml");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(*config, ServerConfig());
  EXPECT_EQ(config->default_tier, "standard");
  EXPECT_EQ(config->tiers.size(), 4);
}

TEST(ServerConfigTest, TheExampleFileIsTheDefaultConfiguration) {
  const auto config = LoadServerConfig("deploy/heatkv.yaml");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(*config, ServerConfig());
}

TEST(ServerConfigTest, ReadsUnits) {
  const auto config = ParseServerConfig(
      "cache: {pool: 1.5 GiB, dtype: bfloat16}\n"
      "tiers: {low: 0.06, best: 1}\n"
      "default_tier: low\n"
      "limits: {max_queued_bytes: 512MiB, max_request_time: 90s,\n"
      "  cached_prompt_bytes: 3 MiB}\n"
      "drain_deadline: 2 min\nheartbeat: 250 ms\n"
      "stall_timeout: 3 s\noutbox_bytes: 64 KiB\n"
      "jobs: {max_jobs: 9, max_bytes: 2 MiB, keep_for: 1 h, folder: /j}\n",
      "c.yaml");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->pool.bytes, std::int64_t{3} << 29);
  EXPECT_EQ(config->cache_dtype, CacheDtype::kBfloat16);
  ASSERT_EQ(config->tiers.size(), 2);
  EXPECT_EQ(config->tiers[0].name, "low");
  EXPECT_EQ(config->tiers[0].budget.fraction(), 0.06);
  EXPECT_EQ(config->max_queued_bytes, std::int64_t{512} << 20);
  EXPECT_EQ(config->max_request_time, absl::Seconds(90));
  EXPECT_EQ(config->cached_prompt_bytes, 3 << 20);
  EXPECT_EQ(config->drain_deadline, absl::Minutes(2));
  EXPECT_EQ(config->heartbeat, absl::Milliseconds(250));
  EXPECT_EQ(config->stall_timeout, absl::Seconds(3));
  EXPECT_EQ(config->outbox_bytes, 64 << 10);
  EXPECT_EQ(config->jobs, (JobsConfig{9, 2 << 20, absl::Hours(1), "/j"}));
}

TEST(ServerConfigTest, ReadsSchedulingAndTenants) {
  const auto config = ParseServerConfig(
      "admin_listen: '0.0.0.0:7'\nlog_level: warning\n"
      "scheduling: {policy: preview, aging: 5s, max_running_images: 3}\n"
      "tenants: {studio: 3, 'the night shift': 0.25}\n",
      "c.yaml");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->admin_listen, "0.0.0.0:7");
  EXPECT_EQ(config->log_level, "warning");
  EXPECT_EQ(config->policy, SchedulingPolicy::kPreview);
  EXPECT_EQ(config->aging, absl::Seconds(5));
  EXPECT_EQ(config->max_running_images, 3);
  EXPECT_EQ(config->tenants, (std::map<std::string, double>{
                                 {"studio", 3}, {"the night shift", 0.25}}));
}

TEST(ServerConfigTest, WhatIsWrittenOutReadsBackAsItself) {
  ServerConfig config;
  config.listen = "0.0.0.0:0";
  config.pool.fraction = 0.25;
  config.cache_dtype = CacheDtype::kBfloat16;
  config.random_weights = 0xffffffffffffffff;
  config.tokenizer = "models/default";
  config.pixel_classes = {"1M", "0.25M"};
  config.device = "cuda:1";
  config.vae_tile = 384;
  config.warm_up = WarmUp::kFirst;
  config.text_encoder = TextEncoderDevice::kCpu;
  config.max_images = 3;
  config.cached_prompt_bytes = 54321;
  config.heartbeat = absl::Milliseconds(1500);
  config.admin_listen = "[::1]:0";
  config.log_level = "error";
  config.policy = SchedulingPolicy::kPreview;
  config.aging = absl::Milliseconds(1234567);
  config.max_running_images = 7;
  config.tenants = {{"a \"b\": c", 1.0 / 3}, {"tab\t", 2}, {"true", 1e6}};
  config.tiers.push_back({"my tier", *cache::Budget::Create(1.0 / 7)});
  config.stall_timeout = absl::Minutes(1);
  config.outbox_bytes = 12345;
  config.jobs = {3, 1 << 30, absl::Hours(2), "C:\\jobs"};
  const auto again = ParseServerConfig(ToYaml(config), "c.yaml");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, config);
}

TEST(ServerConfigTest, NamesAllMistakesAtOnce) {
  EXPECT_EQ(
      MistakesOf("listen: 127.0.0.1:1\n"
                 "lisen: x\n"
                 "limits:\n"
                 "  max_images: 11\n"
                 "cache: {pool: 256, dtype: int4}\n"
                 "drain_deadline: 30\n"),
      "c.yaml:2:1: unknown key lisen; known here: admin_listen, cache, "
      "default_tier, device, drain_deadline, encoder_threads, heartbeat, "
      "jobs, limits, listen, log_level, metrics_listen, model, "
      "outbox_bytes, pixel_classes, random_weights, reflection, scheduling, "
      "stall_timeout, tenants, text_encoder, threads, tiers, "
      "tokenizer, vae_tile, warm_up\n"
      "c.yaml:4:15: limits.max_images must be a whole number from 1 to "
      "10, but is \"11\"\n"
      "c.yaml:5:15: cache.pool: \"256\" is not a size with its unit (B, "
      "KiB, MiB, GiB or TiB), like \"256 MiB\"\n"
      "c.yaml:5:27: cache.dtype must be auto, float32 or bfloat16, but "
      "is \"int4\"\n"
      "c.yaml:6:17: drain_deadline: \"30\" is not a duration with its "
      "unit (ms, s, min or h), like \"30s\"");
}

TEST(ServerConfigTest, RefusesValuesThatDoNotFitTogether) {
  EXPECT_THAT(
      MistakesOf("default_tier: gold"),
      AllOf(HasSubstr("\"gold\""), HasSubstr("full, high, standard, economy")));
  EXPECT_THAT(MistakesOf("listen: nowhere"), HasSubstr("host:port"));
  EXPECT_THAT(MistakesOf("metrics_listen: 'x:70000'"), HasSubstr("host:port"));
  EXPECT_THAT(MistakesOf("admin_listen: here"), HasSubstr("admin_listen"));
  EXPECT_THAT(MistakesOf("device: tpu"), HasSubstr("\"tpu\""));
  EXPECT_THAT(MistakesOf("tiers: {standard: 1.5}"),
              HasSubstr("c.yaml:1:19: tiers.standard must be a number from 0 "
                        "to 1"));
}

TEST(ServerConfigTest, ReadsTheDevice) {
  for (const char* device : {"cpu", "cuda", "cuda:0", "cuda:7"}) {
    const auto config =
        ParseServerConfig(absl::StrCat("device: '", device, "'"), "c.yaml");
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->device, device);
    EXPECT_EQ(config->is_on_gpu(), config->device != "cpu");
    EXPECT_EQ(config->gpu(), config->device == "cuda:7" ? 7 : 0);
  }
  for (const char* device :
       {"cuda:", "cuda:x", "cuda:-1", "cuda7", "CPU", ""}) {
    EXPECT_THAT(MistakesOf(absl::StrCat("device: '", device, "'")),
                HasSubstr("device must be \"cpu\", \"cuda\" or \"cuda:N\""));
  }
}

TEST(ServerConfigTest, ReadsSeveralDevices) {
  for (const char* yaml :
       {"device: [cuda:1, cuda:0]", "device: 'cuda:1,cuda:0'",
        "device: cuda:1, cuda:0", "device:\n- cuda:1\n- cuda:0"}) {
    const auto config = ParseServerConfig(yaml, "c.yaml");
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(*ParseDevices(config->device),
              (std::vector<std::string>{"cuda:1", "cuda:0"}));
    EXPECT_TRUE(config->is_on_gpu());
    EXPECT_EQ(config->gpu(), 1);
    const auto again = ParseServerConfig(ToYaml(*config), "c.yaml");
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, *config);
  }
  EXPECT_EQ(ParseServerConfig("device: all", "c")->device, kAllDevices);
  EXPECT_TRUE(ParseServerConfig("device: all", "c")->is_on_gpu());
  EXPECT_EQ(ParseServerConfig("device: [cpu]", "c")->device, "cpu");
  EXPECT_THAT(MistakesOf("device: [cuda:1, cuda:1]"),
              HasSubstr("names GPU 1 twice"));
  EXPECT_THAT(MistakesOf("device: [cuda, cuda:0]"),
              HasSubstr("names GPU 0 twice"));
  for (const char* device : {"[cpu, cuda:0]", "[all, cuda:0]", "'cuda:0,'"}) {
    EXPECT_THAT(MistakesOf(absl::StrCat("device: ", device)),
                HasSubstr("several GPUs like \"cuda:0, cuda:1\""));
  }
  EXPECT_THAT(MistakesOf("device: []"), HasSubstr("must be a list of texts"));
}

TEST(ServerConfigTest, TheDeviceDecidesTheCachesDtypeUnlessTheFileDoes) {
  EXPECT_EQ(ServerConfig().cache_dtype_in_use(), CacheDtype::kFloat32);
  EXPECT_EQ(ParseServerConfig("device: cuda", "c")->cache_dtype_in_use(),
            CacheDtype::kBfloat16);
  EXPECT_EQ(
      ParseServerConfig("cache: {dtype: bfloat16}", "c")->cache_dtype_in_use(),
      CacheDtype::kBfloat16);
  EXPECT_EQ(ParseServerConfig("cache: {dtype: auto}", "c")->cache_dtype,
            std::nullopt);
  EXPECT_THAT(MistakesOf("device: cuda\ncache: {dtype: float32}"),
              AllOf(HasSubstr("must be bfloat16"), HasSubstr("\"cuda\"")));
}

TEST(ServerConfigTest, TheTextEncoderIsWhereTheModelIsOrOnTheCpu) {
  EXPECT_FALSE(ServerConfig().is_text_encoder_on_host());
  const auto on_host = [](const char* yaml) {
    const auto config = ParseServerConfig(yaml, "c.yaml");
    EXPECT_TRUE(config.ok()) << config.status();
    return config->is_text_encoder_on_host();
  };
  EXPECT_FALSE(on_host("device: cuda"));
  EXPECT_FALSE(on_host("device: cuda\ntext_encoder: auto"));
  EXPECT_FALSE(on_host("device: cuda\ntext_encoder: gpu"));
  EXPECT_TRUE(on_host("device: cuda\ntext_encoder: cpu"));
  EXPECT_FALSE(on_host("text_encoder: cpu"));  // it is there anyway
  EXPECT_THAT(MistakesOf("text_encoder: gpu"),
              HasSubstr("text_encoder is gpu, but device is \"cpu\""));
  EXPECT_THAT(MistakesOf("text_encoder: host"),
              HasSubstr("c.yaml:1:15: text_encoder must be auto, gpu or cpu, "
                        "but is \"host\""));
}

TEST(ServerConfigTest, ReadsWhichSizesAreWarmedUp) {
  EXPECT_EQ(ServerConfig().warm_up, WarmUp::kAll);
  EXPECT_EQ(ParseServerConfig("warm_up: true", "c")->warm_up, WarmUp::kAll);
  EXPECT_EQ(ParseServerConfig("warm_up: first", "c")->warm_up, WarmUp::kFirst);
  EXPECT_EQ(ParseServerConfig("warm_up: false", "c")->warm_up, WarmUp::kNone);
  EXPECT_THAT(MistakesOf("warm_up: last"),
              HasSubstr("warm_up must be false, first or true"));
}

TEST(ServerConfigTest, ReadsTheVaesTile) {
  EXPECT_EQ(ServerConfig().vae_tile, std::nullopt);
  EXPECT_EQ(ParseServerConfig("vae_tile: auto", "c")->vae_tile, std::nullopt);
  EXPECT_EQ(ParseServerConfig("vae_tile: 0", "c")->vae_tile, 0);
  EXPECT_EQ(ParseServerConfig("vae_tile: 512", "c")->vae_tile, 512);
  for (const char* mistake : {"-1", "16385", "half", "1.5"}) {
    EXPECT_EQ(MistakesOf(absl::StrCat("vae_tile: ", mistake)),
              absl::StrCat("c.yaml:1:11: vae_tile must be auto or a whole "
                           "number from 0 to 16384, but is \"",
                           mistake, "\""));
  }
}

TEST(ServerConfigTest, ReadsTheSeedOfRandomWeights) {
  EXPECT_EQ(ParseServerConfig("random_weights: none", "c")->random_weights,
            std::nullopt);
  const auto config =
      ParseServerConfig("random_weights: 0\ntokenizer: models/default", "c");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->random_weights, 0);
  EXPECT_EQ(config->tokenizer, "models/default");
  for (const char* bad : {"-1", "1.5", "yes", "18446744073709551616"}) {
    EXPECT_THAT(MistakesOf(absl::StrCat("random_weights: ", bad)),
                AllOf(HasSubstr("c.yaml:1:17: random_weights must be none or a "
                                "seed"),
                      HasSubstr(bad)));
  }
  EXPECT_EQ(ParseServerConfig("pixel_classes: auto", "c")->pixel_classes,
            std::vector<std::string>());
  EXPECT_THAT(MistakesOf("pixel_classes: '1M,,2M'"),
              HasSubstr("c.yaml:1:16: pixel_classes must be auto or names"));
  EXPECT_THAT(MistakesOf("tokenizer: models/default"),
              HasSubstr("only random weights take another tokenizer"));
}

TEST(ServerConfigTest, RefusesValuesThatCannotBeScheduledBy) {
  EXPECT_THAT(MistakesOf("scheduling: {policy: fifo}"),
              HasSubstr("c.yaml:1:22: scheduling.policy must be latency or "
                        "preview, but is \"fifo\""));
  EXPECT_THAT(MistakesOf("scheduling: {aging: 0 s}"),
              HasSubstr("scheduling.aging must be longer than 0 s"));
  EXPECT_THAT(MistakesOf("scheduling: {max_running_images: 0}"),
              HasSubstr("whole number from 1"));
  EXPECT_THAT(MistakesOf("limits: {max_running_images: 8}"),
              HasSubstr("unknown key limits.max_running_images"));
  EXPECT_THAT(MistakesOf("log_level: debug"),
              HasSubstr("log_level must be info, warning or error, but is "
                        "\"debug\""));
  EXPECT_THAT(MistakesOf("tenants: {a: 0}"),
              HasSubstr("tenants.a must be a number from 0.001"));
  EXPECT_THAT(MistakesOf("tenants: {'': 1}"), HasSubstr("1 to 64 bytes"));
  EXPECT_THAT(MistakesOf("jobs: {max_jobs: 0}"), HasSubstr("jobs.max_jobs"));
  EXPECT_THAT(MistakesOf("jobs: {keep_for: 0 s}"), HasSubstr("jobs.keep_for"));
  EXPECT_THAT(MistakesOf("stall_timeout: 0 s"), HasSubstr("stall_timeout"));
}

TEST(ServerConfigTest, ParsesPoolSizes) {
  EXPECT_EQ(ParsePoolSize("25 %")->Resolve(1000), 250);
  EXPECT_EQ(ParsePoolSize("100%")->Resolve(1000), 1000);
  EXPECT_EQ(ParsePoolSize("2 KiB")->Resolve(1000), 2048);
  EXPECT_FALSE(ParsePoolSize("2 KiB")->is_automatic());
  EXPECT_FALSE(ParsePoolSize("25 %")->is_automatic());
  EXPECT_TRUE(ParsePoolSize("auto")->is_automatic());
  EXPECT_EQ(ParsePoolSize("auto")->Resolve(1000), 256 << 20);
  for (const char* bad : {"", "0 B", "0 %", "101 %", "-1 MiB", "12", "1 MB"}) {
    EXPECT_FALSE(ParsePoolSize(bad).ok()) << bad;
  }
}

TEST(ServerConfigTest, ParsesDurations) {
  EXPECT_EQ(*ParseSeconds("1.5 s"), 1.5);
  EXPECT_EQ(*ParseSeconds("2h"), 7200);
  for (const char* bad : {"", "5", "s", "1 day", "1.2.3 s"}) {
    EXPECT_FALSE(ParseSeconds(bad).ok()) << bad;
  }
}

TEST(CapacityTest, SaysHowManyImagesThePoolHolds) {
  const model::ModelSpec spec = model::FakeModel::MakeSpec();
  const cache::CacheGeometry geometry = GeometryOf(spec, CacheDtype::kFloat32);
  EXPECT_EQ(geometry, (cache::CacheGeometry{2, 2, 8, 4}));
  EXPECT_EQ(GeometryOf(spec, CacheDtype::kBfloat16).bytes_per_value, 2);
  const auto book = ScheduleBook::Create(
      spec, geometry, nullptr, {{"full", cache::Budget::Full()}},
      [](const cache::Schedule&) { return ""; });
  ASSERT_TRUE(book.ok());
  const cache::Trajectory& image = *book->plan(0, 0).guided;
  EXPECT_THAT(DescribeCapacity(spec, *book, 5 * image.peak_blocks() + 1),
              HasSubstr("holds 5 full images at 24x24 with guidance"));
}

TEST(CapacityTest, SaysThatThePoolIsTooSmallForAnImage) {
  const model::ModelSpec spec = model::FakeModel::MakeSpec();
  const auto book =
      ScheduleBook::Create(spec, GeometryOf(spec, CacheDtype::kFloat32),
                           nullptr, {{"full", cache::Budget::Full()}},
                           [](const cache::Schedule&) { return ""; });
  ASSERT_TRUE(book.ok());
  const int peak = book->plan(0, 0).guided->peak_blocks();
  EXPECT_EQ(DescribeShortage(spec, *book, "full", peak), "");
  EXPECT_EQ(DescribeShortage(spec, *book, "full", peak - 1),
            absl::StrCat("the pool has ", peak - 1,
                         ".0 KiB, but an image of 24x24 on tier \"full\" under "
                         "guidance needs ",
                         peak, ".0 KiB"));
}

TEST(CapacityTest, AnAutomaticPoolHoldsAllThatRunIfThereIsRoom) {
  model::ModelSpec spec = model::FakeModel::MakeSpec();
  const cache::Grid side = {40, 40};
  spec.ladders.push_back(
      {"1:1", "large", side,
       cache::ScaleLadder::Create({{1, 1}, {2, 2}, {20, 20}, side}, 1)
           .value()});
  const auto book =
      ScheduleBook::Create(spec, cache::CacheGeometry{2, 2, 8, 4}, nullptr,
                           {{"full", cache::Budget::Full()}},
                           [](const cache::Schedule&) { return ""; });
  ASSERT_TRUE(book.ok());
  const int large = static_cast<int>(spec.ladders.size()) - 1;
  const std::int64_t peak = book->plan(large, 0).guided->peak_blocks();
  ASSERT_GT(peak, book->plan(0, 0).guided->peak_blocks());
  const std::int64_t block = book->geometry().block_bytes();
  const auto blocks = [&](std::int64_t left_blocks, std::int64_t least) {
    return AutomaticPoolBlocks(spec, *book, "full", /*images=*/10,
                               left_blocks * block, least);
  };
  EXPECT_EQ(blocks(100 * peak, 1), 10 * peak);
  EXPECT_EQ(blocks(10 * peak, 1), 9 * peak);
  EXPECT_EQ(blocks(20, 1), 18);
  EXPECT_EQ(blocks(20, 50), 50);
  EXPECT_EQ(blocks(-1000, 50), 50);
}

TEST(CapacityTest, RefusesAPoolSmallerThanABlock) {
  const cache::CacheGeometry geometry{2, 2, 8, 4};
  ASSERT_EQ(geometry.block_bytes(), 1024);
  EXPECT_EQ(*PoolBlocks(*ParsePoolSize("5000 B"), 0, geometry), 4);
  const auto status =
      PoolBlocks(*ParsePoolSize("1000 B"), 0, geometry).status();
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("1000 bytes"), HasSubstr("1024 bytes")));
}

}  // namespace
}  // namespace heatkv::server
