// Faults: whatever happens to one request, it alone ends, with a clear status,
// all others finish with the bytes that they would have had, and every block
// comes back.

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/server/engine_fixture.h"

namespace heatkv::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

class EngineFaultTest : public EngineFixture {
 protected:
  void ExpectEmptyPool() {
    const EngineStats stats = engine_->Stats();
    EXPECT_EQ(stats.used_blocks, 0);
    EXPECT_EQ(stats.running_images, 0);
    EXPECT_EQ(stats.waiting_requests, 0);
    EXPECT_EQ(stats.plan_error_blocks, 0);
    EXPECT_EQ(script_->live_images, 0);
  }
};

TEST_F(EngineFaultTest, AFaultAtAnyScaleOfAGroupEndsItsRequestAlone) {
  for (int at = 0; at < 5; ++at) {
    script_ = std::make_shared<model::FakeModel::Script>();
    MakeEngine(4);
    script_->on_step = [at](const std::string& prompt, std::uint64_t,
                            int scale) {
      return prompt == "bad" && scale == at
                 ? absl::InternalError("3 logits are not finite")
                 : absl::OkStatus();
    };
    const auto before = Submit(Request("before"));
    const auto bad = Submit(Request("bad"));
    const auto after = Submit(Request("after"));
    RunUntilIdle();
    EXPECT_EQ(bad->status->code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(bad->status->message()),
                testing::AllOf(HasSubstr(absl::StrCat("scale ", at + 1)),
                               HasSubstr("not finite")));
    ASSERT_TRUE(before->status->ok() && after->status->ok());
    EXPECT_EQ(before->All<ImageEvent>()[0].picture.pixels,
              Alone(Request("before")).pixels);
    EXPECT_EQ(after->All<ImageEvent>()[0].picture.pixels,
              Alone(Request("after")).pixels);
    ExpectEmptyPool();
  }
}

TEST_F(EngineFaultTest, DeviceMemoryThatRunsOutAtAStartEndsThatRequestAlone) {
  MakeEngine(4);
  script_->image_bytes = 10;
  script_->device_bytes = 25;
  const auto a = Submit(Request("a"));
  const auto b = Submit(Request("b"));
  const auto c = Submit(Request("c"));
  RunUntilIdle();
  EXPECT_TRUE(a->status->ok());
  EXPECT_TRUE(b->status->ok());
  EXPECT_EQ(c->status->code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(c->status->message()),
              testing::AllOf(HasSubstr("25"), HasSubstr("30")));
  ExpectEmptyPool();
  const auto next = Submit(Request("next"));
  RunUntilIdle();
  EXPECT_TRUE(next->status->ok()) << "the engine has recovered";
}

TEST_F(EngineFaultTest, DeviceMemoryThatRunsOutInAStepIsNotForEver) {
  MakeEngine(4);
  script_->image_bytes = 10;
  script_->step_bytes = 10;
  script_->device_bytes = 19;
  const auto a = Submit(Request("a"));
  RunUntilIdle();
  EXPECT_EQ(a->status->code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(a->status->message()), HasSubstr("scale 1"));
  ExpectEmptyPool();
  script_->device_bytes = 20;
  const auto b = Submit(Request("b"));
  RunUntilIdle();
  EXPECT_TRUE(b->status->ok());
}

TEST_F(EngineFaultTest, BlocksAreBackWithinOneStepOfACancellation) {
  MakeEngine(4);
  script_->spend = [this](absl::Duration cost) { clock_.Advance(cost); };
  script_->step_cost = [](int, int) { return absl::Seconds(1); };
  const auto gone = Submit(Request("gone"));
  const std::uint64_t number = last_number_;
  const auto other = Submit(Request("other", 1, 1, 1));
  for (int i = 0; i < 2; ++i) engine_->RunOnce();
  // In the middle of the next step, half a second before its end.
  script_->on_step = [&](const std::string& prompt, std::uint64_t, int) {
    if (prompt == "gone") engine_->Cancel(number);
    return absl::OkStatus();
  };
  engine_->RunOnce();
  script_->on_step = nullptr;
  RunUntilIdle();
  EXPECT_EQ(gone->status->code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(other->status->ok());
  EXPECT_THAT(observer_.releases,
              ElementsAre(Pair(EndCause::kClient, absl::Seconds(1))));
}

TEST_F(EngineFaultTest, AStalledReaderIsEndedWithAborted) {
  MakeEngine(1);
  const auto sink = Submit(Request("cat"));
  engine_->RunOnce();
  engine_->Cancel(last_number_, CancelCause::kStall);
  RunUntilIdle();
  EXPECT_EQ(sink->status->code(), absl::StatusCode::kAborted);
  ASSERT_EQ(observer_.releases.size(), 1);
  EXPECT_EQ(observer_.releases[0].first, EndCause::kStall);
  ExpectEmptyPool();
}

// Two thousand requests, a third of which fail, vanish, stall or are late at
// random points, under both policies.
TEST_F(EngineFaultTest, RandomFaultsLoseNothingOfAnybodyElse) {
  for (const auto policy :
       {SchedulingPolicy::kLatency, SchedulingPolicy::kPreview}) {
    script_ = std::make_shared<model::FakeModel::Script>();
    EngineOptions options;
    options.scheduler.policy = policy;
    options.scheduler.queue.max_requests = 10000;
    MakeEngine(2, options);
    std::mt19937_64 random(20261122);
    script_->on_step = [](const std::string& prompt, std::uint64_t seed,
                          int scale) {
      return prompt == "fails" && static_cast<int>(seed % 5) == scale
                 ? absl::InternalError("not finite")
                 : absl::OkStatus();
    };
    struct Sent {
      GenerationRequest request;
      std::shared_ptr<RecordingSink> sink;
    };
    std::vector<Sent> sent;
    std::vector<std::uint64_t> cancellable;
    for (int i = 0; i < 1000; ++i) {
      GenerationRequest request =
          Request(random() % 6 == 0 ? "fails" : "good", random() % 100,
                  1 + random() % 3, random() % 2);
      request.ladder = random() % 2;
      request.guidance = random() % 3 == 0 ? 1.0 : 3.0;
      request.priority = static_cast<Priority>(random() % 3);
      request.tenant = absl::StrCat("tenant ", random() % 3);
      if (random() % 8 == 0) {
        request.deadline = clock_.Now() + absl::Seconds(random() % 20);
      }
      sent.push_back({request, Submit(request)});
      if (random() % 6 == 0) cancellable.push_back(last_number_);
      for (std::uint64_t turns = random() % 12; turns > 0; --turns) {
        clock_.Advance(absl::Milliseconds(100));
        engine_->RunOnce();
        const EngineStats stats = engine_->Stats();
        ASSERT_EQ(stats.plan_error_blocks, 0);
        ASSERT_LE(stats.used_blocks, stats.limit_blocks);
      }
      if (!cancellable.empty() && random() % 3 == 0) {
        engine_->Cancel(cancellable.back(), random() % 2 == 0
                                                ? CancelCause::kClient
                                                : CancelCause::kStall);
        cancellable.pop_back();
      }
    }
    RunUntilIdle();
    int good = 0;
    for (const Sent& one : sent) {
      ASSERT_TRUE(one.sink->status.has_value());
      const auto images = one.sink->All<ImageEvent>();
      if (one.sink->status->ok()) {
        ++good;
        EXPECT_EQ(images.size(), one.request.seeds.size());
      }
      for (const ImageEvent& image : images) {
        GenerationRequest alone = one.request;
        alone.seeds = {one.request.seeds[image.image]};
        alone.deadline = absl::InfiniteFuture();
        ASSERT_EQ(image.picture.pixels, Alone(alone).pixels);
      }
    }
    EXPECT_GT(good, 500);
    ExpectEmptyPool();
  }
}

TEST_F(EngineFaultTest, AFaultThatIsTheRequestsOwnLeavesTheModelWell) {
  MakeEngine(4);
  script_->on_step = [](const std::string& prompt, std::uint64_t, int) {
    return prompt == "bad" ? absl::InternalError("3 logits are not finite")
                           : absl::OkStatus();
  };
  for (int i = 0; i < 5; ++i) {
    const auto bad = Submit(Request("bad"));
    RunUntilIdle();
    EXPECT_EQ(bad->status->code(), absl::StatusCode::kInternal);
  }
  EXPECT_THAT(observer_.health, testing::IsEmpty());
  EXPECT_TRUE(engine_->Stats().model_is_well);
  const auto good = Submit(Request("good"));
  RunUntilIdle();
  EXPECT_TRUE(good->status->ok());
}

// A device that is gone fails whatever it is asked.
TEST_F(EngineFaultTest, AModelThatCannotComputeTakesNothingUntilItCanAgain) {
  MakeEngine(4);
  bool is_gone = false;
  script_->on_step = [&](const std::string&, std::uint64_t, int scale) {
    if (scale == 2) is_gone = true;
    return is_gone ? absl::InternalError("the device fell off the bus")
                   : absl::OkStatus();
  };
  script_->on_encode = [&](const std::string&) {
    return is_gone ? absl::InternalError("no device") : absl::OkStatus();
  };
  const auto a = Submit(Request("a"));
  const auto b = Submit(Request("b"));
  RunUntilIdle();
  for (const auto& sink : {a, b}) {
    EXPECT_EQ(sink->status->code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(sink->status->message()),
                HasSubstr("fell off the bus"));
  }
  ExpectEmptyPool();
  ASSERT_EQ(observer_.health.size(), 1);
  EXPECT_EQ(observer_.health[0].message(), "no device");
  EXPECT_FALSE(engine_->Stats().model_is_well);

  const auto refused =
      engine_->Submit(Request("c"), std::make_shared<RecordingSink>());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("no device"));
  EXPECT_EQ(observer_.refusals, std::vector{Refusal::kModelUnwell});
  const auto estimate = engine_->EstimateRequest(Request("c"));
  EXPECT_FALSE(estimate->admissible_now);
  EXPECT_THAT(estimate->reason, HasSubstr("no device"));

  // It is tried once a second, not more.
  const int tried = script_->encodings;
  for (int i = 0; i < 10; ++i) engine_->RunOnce();
  EXPECT_EQ(script_->encodings, tried);
  clock_.Advance(ModelWatch::kRetryEvery);
  for (int i = 0; i < 10; ++i) engine_->RunOnce();
  EXPECT_EQ(script_->encodings, tried + 1);

  is_gone = false;
  script_->on_step = nullptr;
  clock_.Advance(ModelWatch::kRetryEvery);
  engine_->RunOnce();
  ASSERT_EQ(observer_.health.size(), 2);
  EXPECT_TRUE(observer_.health[1].ok());
  EXPECT_TRUE(engine_->Stats().model_is_well);
  const auto next = Submit(Request("next"));
  RunUntilIdle();
  EXPECT_TRUE(next->status->ok());
}

}  // namespace
}  // namespace heatkv::server
