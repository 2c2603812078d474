// An engine with two devices: one queue, pictures that do not depend on the
// device, faults that stay on theirs.

#include <atomic>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/server/engine_fixture.h"

namespace heatkv::server {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

using Script = model::FakeModel::Script;

class HealthRecorder final : public ServerObserver {
 public:
  void OnCall(const CallRecord&) override {}
  void OnStage(Stage, absl::Duration) override {}
  void OnScale(int, absl::Duration) override {}
  void OnImage(const std::string&, const absl::Status&) override { ++images; }
  void OnModelHealth(const absl::Status& status) override {
    health.push_back(status.ok());
  }
  void OnDeviceHealth(const std::string& device,
                      const absl::Status& status) override {
    devices.push_back({device, status.ok()});
  }

  std::atomic<int> images{0};
  std::vector<bool> health;
  std::vector<std::pair<std::string, bool>> devices;
};

class EngineDevicesTest : public EngineFixture {
 protected:
  // Every pool holds `images` images of the full tier under guidance.
  void MakeDevices(int images, EngineOptions options = {}) {
    engine_.reset();
    options.pool_blocks = images * FullPeak();
    std::vector<DeviceModel> devices;
    for (int d = 0; d < 2; ++d) {
      scripts_[d] = std::make_shared<Script>();
      devices.push_back({absl::StrCat("cuda:", d),
                         std::make_unique<model::FakeModel>(scripts_[d])});
    }
    auto engine = Engine::Create(options, std::move(devices), MakeFakeBook(),
                                 &clock_, &recorder_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }

  static std::int64_t FullPeak() {
    return MakeFakeBook()->plan(0, 0).guided->peak_blocks();
  }

  void ExpectEmptyPools() {
    const EngineStats stats = engine_->Stats();
    EXPECT_EQ(stats.used_blocks, 0);
    EXPECT_EQ(stats.plan_error_blocks, 0);
    EXPECT_EQ(stats.running_images, 0);
    for (const auto& script : scripts_) EXPECT_EQ(script->live_images, 0);
  }

  void ExpectPictures(const GenerationRequest& request,
                      const RecordingSink& sink) {
    for (const ImageEvent& image : sink.All<ImageEvent>()) {
      GenerationRequest alone = request;
      alone.seeds = {request.seeds[image.image]};
      alone.deadline = absl::InfiniteFuture();
      alone.preview_after.clear();
      EXPECT_EQ(image.picture.pixels, Alone(alone).pixels)
          << request.prompt << ", image " << image.image;
    }
  }

  std::shared_ptr<Script> scripts_[2];
  HealthRecorder recorder_;
};

TEST_F(EngineDevicesTest, TheImagesOfARequestAreMadeOnBothAsOnOne) {
  for (const auto policy :
       {SchedulingPolicy::kLatency, SchedulingPolicy::kPreview}) {
    EngineOptions options;
    options.scheduler.policy = policy;
    MakeDevices(4, options);
    const GenerationRequest request = Request("cat", 7, 4);
    const auto sink = Submit(request);
    RunUntilIdle();
    ASSERT_EQ(sink->status, absl::OkStatus());
    EXPECT_EQ(sink->All<ImageEvent>().size(), 4);
    EXPECT_EQ(sink->All<StartedEvent>().size(), 1);
    ExpectPictures(request, *sink);
    for (const auto& script : scripts_) {
      EXPECT_EQ(script->steps.size(), 2 * 5) << "half of the images";
      EXPECT_EQ(script->encodings, 1) << "a text for each device";
    }
    const auto again = Submit(Request("cat", 9, 2));
    RunUntilIdle();
    EXPECT_TRUE(again->usage.text_was_cached);
    EXPECT_EQ(scripts_[0]->encodings + scripts_[1]->encodings, 2);
    ExpectEmptyPools();
  }
}

TEST_F(EngineDevicesTest, NoDeviceIsIdleWhileAnotherHasTwo) {
  MakeDevices(4);
  Submit(Request("a"));
  Submit(Request("b"));
  EXPECT_TRUE(engine_->RunOnce(1));
  EXPECT_TRUE(engine_->RunOnce(0));
  EXPECT_THAT(scripts_[1]->steps, ElementsAre("a/1/0"));
  EXPECT_THAT(scripts_[0]->steps, ElementsAre("b/1/0"));
  const EngineStats stats = engine_->Stats();
  EXPECT_EQ(stats.running_images, 2);
  EXPECT_EQ(stats.running_requests, 2);
  EXPECT_EQ(stats.limit_blocks, 8 * FullPeak());
  ASSERT_EQ(stats.devices.size(), 2);
  for (int d = 0; d < 2; ++d) {
    EXPECT_EQ(stats.devices[d].device, absl::StrCat("cuda:", d));
    EXPECT_EQ(stats.devices[d].running_images, 1);
    EXPECT_EQ(stats.devices[d].limit_blocks, 4 * FullPeak());
    EXPECT_EQ(stats.devices[d].used_blocks, stats.used_blocks / 2);
  }
  RunUntilIdle();
}

TEST_F(EngineDevicesTest, TheViewNamesTheDeviceOfEveryImage) {
  MakeDevices(4);
  Submit(Request("cat", 1, 3));
  EXPECT_TRUE(engine_->RunOnce());
  std::vector<PoolSnapshot> seen;
  engine_->ViewPool(true, [&](PoolSnapshot snapshot) {
    seen.push_back(std::move(snapshot));
  });
  engine_->RunOnce(0);
  EXPECT_THAT(seen, IsEmpty()) << "the other device has not answered";
  engine_->RunOnce(1);
  ASSERT_EQ(seen.size(), 1);
  std::int64_t held = 0;
  std::set<int> devices;
  for (int i = 0; i < 3; ++i) {
    const ImageSnapshot& image = seen[0].images[i];
    EXPECT_EQ(image.image, i);
    devices.insert(image.device);
  }
  EXPECT_THAT(devices, ElementsAre(0, 1));
  for (const DeviceStats& device : seen[0].stats.devices) {
    held += device.used_blocks;
  }
  EXPECT_EQ(held, seen[0].stats.used_blocks);
  RunUntilIdle();
}

TEST_F(EngineDevicesTest, ACancelledRequestEndsOnceBothHaveGivenBack) {
  MakeDevices(4);
  const auto sink = Submit(Request("cat", 1, 2));
  const auto other = Submit(Request("other"));
  engine_->RunOnce();
  engine_->Cancel(last_number_ - 1);
  engine_->RunOnce(1);
  EXPECT_FALSE(sink->status.has_value()) << "the other device still holds it";
  EXPECT_EQ(scripts_[0]->live_images + scripts_[1]->live_images, 2);
  engine_->RunOnce(0);
  ASSERT_TRUE(sink->status.has_value());
  EXPECT_EQ(sink->status->code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(scripts_[0]->live_images + scripts_[1]->live_images, 1);
  RunUntilIdle();
  EXPECT_TRUE(other->status->ok());
  ExpectEmptyPools();
}

TEST_F(EngineDevicesTest, AnImageThatWasGivenToAnIdleDeviceCanBeCancelled) {
  MakeDevices(4);
  const auto sink = Submit(Request("cat", 1, 3));
  engine_->RunOnce(0);  // has given the second image to the other
  engine_->Cancel(last_number_);
  engine_->RunOnce(0);
  EXPECT_FALSE(sink->status.has_value());
  engine_->RunOnce(1);
  EXPECT_EQ(sink->status->code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(scripts_[1]->steps, IsEmpty());
  ExpectEmptyPools();
}

TEST_F(EngineDevicesTest, AFailureOnOneDeviceEndsTheRequestOnBoth) {
  MakeDevices(4);
  scripts_[1]->on_step = [](const std::string& prompt, std::uint64_t,
                            int scale) {
    return prompt == "bad" && scale == 1 ? absl::InternalError("not finite")
                                         : absl::OkStatus();
  };
  const auto bad = Submit(Request("bad", 1, 2));
  const auto good = Submit(Request("good", 1, 2));
  RunUntilIdle();
  EXPECT_EQ(bad->status->code(), absl::StatusCode::kInternal);
  EXPECT_THAT(bad->All<ImageEvent>(), IsEmpty());
  EXPECT_TRUE(good->status->ok());
  ExpectEmptyPools();
}

TEST_F(EngineDevicesTest, AnUnwellDeviceTakesNothingWhileTheOtherGoesOn) {
  MakeDevices(4);
  bool is_gone = true;
  const auto attempt = [&] {
    return is_gone ? absl::InternalError("off the bus") : absl::OkStatus();
  };
  scripts_[1]->on_step = [&](const std::string&, std::uint64_t, int) {
    return attempt();
  };
  scripts_[1]->on_encode = [&](const std::string&) { return attempt(); };
  engine_->RunOnce(0);
  const auto unlucky = Submit(Request("unlucky"));
  engine_->RunOnce(1);
  EXPECT_EQ(unlucky->status->code(), absl::StatusCode::kInternal);
  EXPECT_THAT(recorder_.devices, ElementsAre(Pair("cuda:1", false)));
  EXPECT_THAT(recorder_.health, IsEmpty()) << "one is well";
  EngineStats stats = engine_->Stats();
  EXPECT_TRUE(stats.model_is_well);
  EXPECT_TRUE(stats.devices[0].model_is_well);
  EXPECT_FALSE(stats.devices[1].model_is_well);

  const std::size_t tried = scripts_[1]->steps.size();
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 6; ++i) sinks.push_back(Submit(Request("cat", i, 2)));
  RunUntilIdle();
  for (const auto& sink : sinks) EXPECT_TRUE(sink->status->ok());
  EXPECT_EQ(scripts_[1]->steps.size(), tried);

  is_gone = false;
  clock_.Advance(ModelWatch::kRetryEvery);
  engine_->RunOnce();
  EXPECT_THAT(recorder_.devices,
              ElementsAre(Pair("cuda:1", false), Pair("cuda:1", true)));
  Submit(Request("cat", 1, 2));
  RunUntilIdle();
  EXPECT_GT(scripts_[1]->steps.size(), tried);
  ExpectEmptyPools();
}

TEST_F(EngineDevicesTest, NoRequestIsTakenOnlyWhenNoneIsWell) {
  MakeDevices(4);
  for (const auto& script : scripts_) {
    script->on_encode = [](const std::string&) {
      return absl::InternalError("no device");
    };
  }
  const auto first = Submit(Request("a"));
  engine_->RunOnce(0);
  EXPECT_EQ(first->status->code(), absl::StatusCode::kInternal);
  EXPECT_THAT(recorder_.health, IsEmpty());
  const auto second = Submit(Request("b"));
  RunUntilIdle();
  EXPECT_EQ(second->status->code(), absl::StatusCode::kInternal);
  EXPECT_THAT(recorder_.health, ElementsAre(false));
  EXPECT_FALSE(engine_->Stats().model_is_well);
  EXPECT_EQ(engine_->Submit(Request("c"), std::make_shared<RecordingSink>())
                .status()
                .code(),
            absl::StatusCode::kUnavailable);
  scripts_[1]->on_encode = nullptr;
  clock_.Advance(ModelWatch::kRetryEvery);
  engine_->RunOnce();
  EXPECT_THAT(recorder_.health, ElementsAre(false, true));
  const auto third = Submit(Request("d"));
  RunUntilIdle();
  EXPECT_TRUE(third->status->ok());
}

TEST_F(EngineDevicesTest, ADrainEndsWhatIsLeftOnBothAtItsDeadline) {
  MakeDevices(4);
  const auto running = Submit(Request("cat", 1, 4));
  const auto waiting = Submit(Request("dog", 1, 8));
  engine_->RunOnce();
  engine_->Drain(clock_.Now() + absl::Seconds(1));
  engine_->RunOnce();
  EXPECT_FALSE(running->status.has_value());
  clock_.Advance(absl::Seconds(1));
  engine_->RunOnce();
  for (const auto& sink : {running, waiting}) {
    ASSERT_TRUE(sink->status.has_value());
    EXPECT_EQ(sink->status->code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_TRUE(engine_->AwaitIdle(absl::ZeroDuration()));
  ExpectEmptyPools();
}

TEST_F(EngineDevicesTest, ASmallerPoolComesIntoForceOnBoth) {
  MakeDevices(3);
  const auto sink = Submit(Request("cat", 1, 6));
  engine_->RunOnce();
  SchedulerOptions smaller = engine_->scheduler_options();
  smaller.limit_blocks = FullPeak();
  ASSERT_TRUE(engine_->Reconfigure(smaller, engine_->schedules()).ok());
  RunUntilIdle();
  EXPECT_TRUE(sink->status->ok());
  for (const DeviceStats& device : engine_->Stats().devices) {
    EXPECT_EQ(device.effective_limit_blocks, FullPeak());
    EXPECT_EQ(device.capacity_blocks, 3 * FullPeak());
  }
}

TEST_F(EngineDevicesTest, WhatWaitsIsEstimatedForBothDevices) {
  MakeDevices(1);
  for (const auto& script : scripts_) {
    script->spend = [this](absl::Duration cost) { clock_.Advance(cost); };
    script->step_cost = [](int, int) { return absl::Seconds(1); };
    script->decode_cost = absl::Seconds(2);
  }
  Submit(Request("measured"));
  RunUntilIdle();
  auto estimate = engine_->EstimateRequest(Request("cat", 1, 3));
  EXPECT_EQ(estimate->expected_wait, absl::ZeroDuration());
  EXPECT_EQ(estimate->expected_run, absl::Seconds(2 * 7)) << "two on one";
  for (int i = 0; i < 3; ++i) Submit(Request("ahead", i));
  estimate = engine_->EstimateRequest(Request("cat"));
  EXPECT_EQ(estimate->expected_wait, absl::Seconds(7));
  EXPECT_EQ(estimate->expected_run, absl::Seconds(7));
  GenerationRequest request = Request("cat");
  request.deadline = clock_.Now() + absl::Seconds(13);
  EXPECT_EQ(engine_->Submit(request, std::make_shared<RecordingSink>())
                .status()
                .code(),
            absl::StatusCode::kDeadlineExceeded);
  request.deadline = clock_.Now() + absl::Seconds(14);
  Submit(request);
  RunUntilIdle();
}

TEST_F(EngineDevicesTest, RefusesDevicesWhoseCachesDiffer) {
  std::vector<DeviceModel> devices;
  devices.push_back({"cuda:0", std::make_unique<model::FakeModel>(
                                   std::make_shared<Script>())});
  devices.push_back({"cuda:1", std::make_unique<model::FakeModel>(
                                   std::make_shared<Script>(),
                                   model::FakeModel::MakeSpec(), 2)});
  EngineOptions options;
  options.pool_blocks = 100;
  const auto engine = Engine::Create(options, std::move(devices),
                                     MakeFakeBook(), &clock_, &recorder_);
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(engine.status().message()),
              testing::AllOf(HasSubstr("cuda:0"), HasSubstr("cuda:1"),
                             HasSubstr("2 bytes a value")));
}

TEST_F(EngineDevicesTest, AModelThatCannotWarmUpIsNamed) {
  MakeDevices(1);
  scripts_[1]->on_warm_up = [] { return absl::InternalError("no kernels"); };
  engine_->Start();
  const absl::Status warm = engine_->AwaitWarm();
  EXPECT_EQ(warm.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(warm.message(), "cuda:1: no kernels");
}

// Random requests, faults and cancellations, with the devices' turns in random
// order: nothing of anybody else is lost.
TEST_F(EngineDevicesTest, RandomFaultsLoseNothingOfAnybodyElse) {
  for (const auto policy :
       {SchedulingPolicy::kLatency, SchedulingPolicy::kPreview}) {
    EngineOptions options;
    options.scheduler.policy = policy;
    options.scheduler.queue.max_requests = 10000;
    MakeDevices(2, options);
    for (const auto& script : scripts_) {
      script->on_step = [](const std::string& prompt, std::uint64_t seed,
                           int scale) {
        return prompt == "fails" && static_cast<int>(seed % 5) == scale
                   ? absl::InternalError("not finite")
                   : absl::OkStatus();
      };
    }
    std::mt19937_64 random(20261122);
    std::vector<std::pair<GenerationRequest, std::shared_ptr<RecordingSink>>>
        sent;
    for (int i = 0; i < 500; ++i) {
      GenerationRequest request =
          Request(random() % 6 == 0 ? "fails" : "good", random() % 100,
                  1 + random() % 4, random() % 2);
      request.ladder = random() % 2;
      request.guidance = random() % 3 == 0 ? 1.0 : 3.0;
      request.tenant = absl::StrCat("tenant ", random() % 3);
      request.priority = static_cast<Priority>(random() % 3);
      if (random() % 8 == 0) {
        request.deadline = clock_.Now() + absl::Seconds(random() % 20);
      }
      sent.push_back({request, Submit(request)});
      if (random() % 6 == 0) engine_->Cancel(1 + random() % last_number_);
      for (std::uint64_t turns = random() % 16; turns > 0; --turns) {
        clock_.Advance(absl::Milliseconds(100));
        engine_->RunOnce(static_cast<int>(random() % 2));
        for (const DeviceStats& device : engine_->Stats().devices) {
          ASSERT_EQ(device.plan_error_blocks, 0);
          ASSERT_LE(device.used_blocks, device.limit_blocks);
        }
      }
    }
    RunUntilIdle();
    int good = 0;
    for (const auto& [request, sink] : sent) {
      ASSERT_TRUE(sink->status.has_value());
      good += sink->status->ok();
      ExpectPictures(request, *sink);
    }
    EXPECT_GT(good, 250);
    for (const auto& script : scripts_) {
      EXPECT_THAT(script->group_sizes, Contains(testing::Gt(1)));
    }
    ExpectEmptyPools();
  }
}

// The same on real threads.
TEST_F(EngineDevicesTest, ThreadsLoseNothingEither) {
  EngineOptions options;
  options.scheduler.queue.max_requests = 10000;
  MakeDevices(2, options);
  engine_->Start();
  ASSERT_TRUE(engine_->AwaitWarm().ok());
  std::mt19937_64 random(20261122);
  std::vector<std::pair<GenerationRequest, std::shared_ptr<RecordingSink>>>
      sent;
  std::atomic<int> views = 0;
  for (int i = 0; i < 200; ++i) {
    GenerationRequest request =
        Request("cat", random() % 100, 1 + random() % 4, random() % 2);
    request.ladder = random() % 2;
    if (random() % 2 == 0) request.preview_after.assign(5, true);
    sent.push_back({request, Submit(request)});
    if (random() % 6 == 0) engine_->Cancel(1 + random() % last_number_);
    if (random() % 10 == 0) {
      engine_->ViewPool(true, [&](PoolSnapshot) { ++views; });
      EXPECT_LE(engine_->Stats().running_images, 64);
    }
    if (random() % 4 == 0) engine_->AwaitIdle(absl::Milliseconds(1));
  }
  EXPECT_TRUE(engine_->AwaitIdle(absl::InfiniteDuration()));
  int good = 0;
  for (const auto& [request, sink] : sent) {
    ASSERT_TRUE(sink->status.has_value());
    good += sink->status->ok();
    if (sink->status->ok()) {
      EXPECT_EQ(sink->All<ImageEvent>().size(), request.seeds.size());
    }
    ExpectPictures(request, *sink);
  }
  EXPECT_GT(good, 100);
  engine_->ViewPool(false, [&](PoolSnapshot) { ++views; });
  const EngineStats stats = engine_->Stats();
  EXPECT_EQ(stats.used_blocks, 0);
  EXPECT_EQ(stats.plan_error_blocks, 0);
  engine_.reset();
  EXPECT_GT(views, 0);
  for (const auto& script : scripts_) {
    EXPECT_FALSE(script->steps.empty());
    EXPECT_EQ(script->live_images, 0);
  }
}

}  // namespace
}  // namespace heatkv::server
