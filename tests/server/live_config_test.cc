// A running engine brought from one configuration to another.

#include "server/live_config.h"

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/serving_plan.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_model.h"
#include "tests/server/engine_fixture.h"

namespace heatkv::server {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

ModelFolder FakeFolder() {
  const std::vector<std::vector<double>> scores = {{0.1, 0.4, 0.3, 0.2},
                                                   {0.4, 0.1, 0.2, 0.3}};
  auto ranking = cache::RankingFromScores(2, 2, 2, scores);
  HEATKV_CHECK_OK(ranking.status());
  ModelFolder folder;
  folder.spec = model::FakeModel::MakeSpec();
  folder.profile = calibration::Profile{.model_sha256 = "",
                                        .aspect = "1:1",
                                        .pixel_class = "tiny",
                                        .ladder = folder.spec.ladders[0].ladder,
                                        .prompts_sha256 = "",
                                        .tool = "",
                                        .scores = scores,
                                        .ranking = *std::move(ranking)};
  return folder;
}

class LiveConfigTest : public testing::Test {
 protected:
  static constexpr int kBlocks = 400;                // of 1024 bytes
  static constexpr char kMetrics[] = "127.0.0.1:1";  // of the command line

  LiveConfigTest() : stream_(std::tmpfile()), log_(stream_) {
    config_.tiers = {{"full", cache::Budget::Full()},
                     {"half", *cache::Budget::Create(0.5)}};
    config_.default_tier = "half";
    config_.cache_dtype = CacheDtype::kFloat32;
    config_.metrics_listen = kMetrics;
    config_.pool.bytes = kBlocks * 1024;
    const auto book = MakeScheduleBook(config_, FakeFolder());
    HEATKV_CHECK_OK(book.status());
    auto engine = Engine::Create(
        {.pool_blocks = kBlocks, .scheduler = SchedulingOf(config_, kBlocks)},
        std::make_unique<model::FakeModel>(script_), *book, &clock_,
        &observer_);
    HEATKV_CHECK_OK(engine.status());
    engine_ = *std::move(engine);
    live_ = std::make_unique<LiveConfig>(
        LiveConfigOptions{
            .config = config_,
            .folder = FakeFolder(),
            .command_line =
                [](ServerConfig* config) { config->metrics_listen = kMetrics; },
            .change =
                [this](const ServerConfig& config,
                       const std::function<absl::Status()>& go) {
                  default_tiers_.push_back(config.default_tier);
                  return go();
                },
            .on_change =
                [this](const ServerConfig& config) {
                  changes_.push_back(config);
                }},
        engine_.get(), &log_);
  }

  ~LiveConfigTest() override { std::fclose(stream_); }

  // The configuration as text, with one part replaced.
  std::string Yaml(const std::string& old_text = "",
                   const std::string& new_text = "") const {
    std::string yaml = ToYaml(config_);
    if (old_text.empty()) return yaml;
    const std::size_t at = yaml.find(old_text);
    EXPECT_NE(at, std::string::npos) << old_text << " is not in\n" << yaml;
    return yaml.replace(at, old_text.size(), new_text);
  }

  // That nothing is different from the beginning.
  void ExpectUntouched() {
    EXPECT_EQ(engine_->scheduler_options(), SchedulingOf(config_, kBlocks));
    EXPECT_EQ(engine_->schedules()->tiers(), config_.tiers);
    EXPECT_TRUE(default_tiers_.empty());
    EXPECT_TRUE(changes_.empty());
    EXPECT_EQ(log_.level(), LogLevel::kInfo);
  }

  std::shared_ptr<model::FakeModel::Script> script_ =
      std::make_shared<model::FakeModel::Script>();
  FakeClock clock_;
  RecordingObserver observer_;
  ServerConfig config_;
  std::FILE* stream_;
  EventLog log_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<LiveConfig> live_;
  std::vector<std::string> default_tiers_;  // with each reconfiguration
  std::vector<ServerConfig> changes_;
};

TEST(FitPoolTest, APoolOfNoSizeFitsIntoTheFullestGpu) {
  ServingPlan plan;
  plan.config.default_tier = "full";
  plan.config.tiers = {{"full", cache::Budget::Full()}};
  plan.config.max_running_images = 1000;
  plan.folder = FakeFolder();
  plan.book = *MakeScheduleBook(plan.config, plan.folder);
  const std::int64_t block = plan.book->geometry().block_bytes();
  plan.pool_blocks = 20;
  plan.devices = {"cuda:0", "cuda:1"};
  for (const int left : {300, 80}) {
    model::MemoryAccount& account = plan.memory.emplace_back();
    account.parts = {{.name = "block pool", .bytes = 20 * block}};
    account.available = account.total() + left * block;
  }
  EXPECT_FALSE(FitPool(&plan));  // on the CPU
  EXPECT_EQ(plan.pool_blocks, 20);
  plan.config.device = "cuda:0,cuda:1";
  EXPECT_TRUE(FitPool(&plan));
  EXPECT_EQ(plan.pool_blocks, 90);  // nine tenths of 80 and 20
  plan.pool_blocks = 20;
  plan.config.pool.bytes = 20 * block;
  EXPECT_FALSE(FitPool(&plan));
  EXPECT_EQ(plan.pool_blocks, 20);
}

std::vector<std::string> Keys(const ConfigOutcome& outcome) {
  std::vector<std::string> keys;
  for (const auto& change : outcome.changes) keys.push_back(change.key);
  return keys;
}

TEST_F(LiveConfigTest, WhatTheCommandLineDecidedIsNoChange) {
  const auto outcome = live_->Apply(
      Yaml("metrics_listen: \"127.0.0.1:1\"", "metrics_listen: \"x:9\""),
      false);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(outcome->applied);
  EXPECT_TRUE(outcome->changes.empty());
}

TEST_F(LiveConfigTest, AnAutomaticPoolIsAllThatWasAllocated) {
  ServerConfig next = config_;
  next.pool.bytes = 300 * 1024;
  ASSERT_TRUE(live_->Apply(ToYaml(next), false).ok());
  EXPECT_EQ(engine_->scheduler_options().limit_blocks, 300);
  next.pool = {};
  const auto outcome = live_->Apply(ToYaml(next), false);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_THAT(Keys(*outcome), ElementsAre("cache.pool"));
  EXPECT_EQ(engine_->scheduler_options().limit_blocks, kBlocks);
}

TEST_F(LiveConfigTest, BringsEveryLiveKeyToTheEngine) {
  ServerConfig next = config_;
  next.pool.bytes = 300 * 1024;
  next.tiers = {{"full", cache::Budget::Full()},
                {"most", *cache::Budget::Create(0.75)}};
  next.default_tier = "most";
  next.policy = SchedulingPolicy::kPreview;
  next.aging = absl::Seconds(7);
  next.max_running_images = 3;
  next.tenants = {{"studio", 4}};
  next.max_queued_requests = 5;
  next.max_queued_bytes = 1 << 20;
  next.log_level = "warning";
  const auto outcome = live_->Apply(ToYaml(next), false);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(outcome->applied);
  EXPECT_THAT(Keys(*outcome),
              ElementsAre("log_level", "cache.pool", "tiers.most",
                          "default_tier", "scheduling.policy",
                          "scheduling.aging", "scheduling.max_running_images",
                          "tenants.studio", "limits.max_queued_requests",
                          "limits.max_queued_bytes", "tiers.half"));
  EXPECT_THAT(outcome->capacity, HasSubstr("most images at 24x24"));
  const SchedulerOptions options = engine_->scheduler_options();
  EXPECT_EQ(options.limit_blocks, 300);
  EXPECT_EQ(options.policy, SchedulingPolicy::kPreview);
  EXPECT_EQ(options.max_running_images, 3);
  EXPECT_EQ(options.queue.aging, absl::Seconds(7));
  EXPECT_EQ(options.queue.weights, next.tenants);
  EXPECT_EQ(options.queue.max_requests, 5);
  EXPECT_EQ(options.queue.max_bytes, 1 << 20);
  EXPECT_EQ(engine_->schedules()->tiers(), next.tiers);
  EXPECT_EQ(log_.level(), LogLevel::kWarning);
  EXPECT_THAT(default_tiers_, ElementsAre("most"));
  EXPECT_THAT(changes_, ElementsAre(next));
  EXPECT_EQ(live_->Current(), next);
}

TEST_F(LiveConfigTest, ADryRunSaysTheSameAndChangesNothing) {
  const std::string yaml = Yaml("pool: 400 KiB", "pool: 100 KiB");
  const auto considered = live_->Apply(yaml, true);
  ASSERT_TRUE(considered.ok()) << considered.status();
  EXPECT_FALSE(considered->applied);
  ExpectUntouched();
  const auto done = live_->Apply(yaml, false);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(considered->changes, done->changes);
  EXPECT_EQ(considered->capacity, done->capacity);
  EXPECT_EQ(engine_->scheduler_options().limit_blocks, 100);
}

TEST_F(LiveConfigTest, NamesEveryKeyThatNeedsARestartAndChangesNothing) {
  ServerConfig next = config_;
  next.pool.bytes = 100 * 1024;  // would be fine
  next.listen = "0.0.0.0:9";
  next.max_images = 4;
  next.cache_dtype = CacheDtype::kBfloat16;
  for (const bool dry_run : {true, false}) {
    const auto outcome = live_->Apply(ToYaml(next), dry_run);
    EXPECT_EQ(outcome.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(
        std::string(outcome.status().message()),
        AllOf(HasSubstr("listen from \"127.0.0.1:50051\" to \"0.0.0.0:9\""),
              HasSubstr("limits.max_images from 10 to 4"),
              HasSubstr("cache.dtype from float32 to bfloat16"),
              Not(HasSubstr("pool"))));
  }
  ExpectUntouched();
}

TEST_F(LiveConfigTest, APoolLargerThanTheArenaIsRefusedWithBothNumbers) {
  const auto outcome =
      live_->Apply(Yaml("pool: 400 KiB", "pool: 500 KiB"), true);
  EXPECT_EQ(outcome.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(outcome.status().message()),
              AllOf(HasSubstr("512000 bytes"), HasSubstr("409600 bytes")));
  ExpectUntouched();
}

TEST_F(LiveConfigTest, APoolMadeSmallerCanGrowBackToTheArena) {
  ASSERT_TRUE(live_->Apply(Yaml("pool: 400 KiB", "pool: 100 KiB"), false).ok());
  EXPECT_EQ(engine_->scheduler_options().limit_blocks, 100);
  ASSERT_TRUE(live_->Apply(Yaml(), false).ok());
  EXPECT_EQ(engine_->scheduler_options().limit_blocks, kBlocks);
}

TEST_F(LiveConfigTest, MistakesAndImpossibleTiersAreNamed) {
  const auto unknown = live_->Apply("cach: {pool: 1 MiB}\nthreads: x\n", false);
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(unknown.status().message()),
              AllOf(HasSubstr("config:1:1: unknown key cach"),
                    HasSubstr("config:2:10: threads")));
  const auto tiny = live_->Apply(Yaml("half: 0.5", "half: 0.001"), false);
  EXPECT_EQ(tiny.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(tiny.status().message()), HasSubstr("half"));
  ExpectUntouched();
}

TEST_F(LiveConfigTest, TheLogLevelIsPartOfTheConfiguration) {
  EXPECT_EQ(*live_->SetLogLevel("error"), "info");
  EXPECT_EQ(log_.level(), LogLevel::kError);
  EXPECT_EQ(live_->Current().log_level, "error");
  EXPECT_EQ(live_->SetLogLevel("loud").status().code(),
            absl::StatusCode::kInvalidArgument);
  const auto outcome = live_->Apply(Yaml(), false);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_THAT(Keys(*outcome), ElementsAre("log_level"));
  EXPECT_EQ(log_.level(), LogLevel::kInfo);
}

}  // namespace
}  // namespace heatkv::server
