// One pool for everybody: groups, tiers by consent, priorities, deadlines that
// cannot be met, slow readers, live configuration, and the operator's view.

#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/server/engine_fixture.h"

namespace heatkv::server {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

class EnginePoolTest : public EngineFixture {
 protected:
  // Every step takes a second, a decoding two.
  void TurnTheClockWithTheModel() {
    script_->spend = [this](absl::Duration cost) { clock_.Advance(cost); };
    script_->step_cost = [](int, int) { return absl::Seconds(1); };
    script_->decode_cost = absl::Seconds(2);
  }

  PoolSnapshot View(bool per_head) {
    PoolSnapshot seen;
    bool called = false;
    engine_->ViewPool(per_head, [&](PoolSnapshot snapshot) {
      seen = std::move(snapshot);
      called = true;
    });
    engine_->RunOnce();
    EXPECT_TRUE(called);
    return seen;
  }
};

TEST_F(EnginePoolTest, AnImageIsTheSameAmongSevenOthersAsAlone) {
  for (const auto policy :
       {SchedulingPolicy::kLatency, SchedulingPolicy::kPreview}) {
    script_ = std::make_shared<model::FakeModel::Script>();
    EngineOptions options;
    options.scheduler.policy = policy;
    MakeEngine(3, options);
    std::vector<GenerationRequest> requests;
    std::vector<std::shared_ptr<RecordingSink>> sinks;
    for (int i = 0; i < 8; ++i) {
      GenerationRequest request = Request("prompt", 100 + i, 1, i % 2);
      request.ladder = i % 3 == 2 ? 1 : 0;
      request.guidance = i % 4 == 3 ? 1.0 : 3.0;
      requests.push_back(request);
      sinks.push_back(Submit(request));
    }
    RunUntilIdle();
    EXPECT_THAT(script_->group_sizes, Contains(testing::Gt(1)));
    for (int i = 0; i < 8; ++i) {
      ASSERT_EQ(sinks[i]->status, absl::OkStatus());
      EXPECT_EQ(sinks[i]->All<ImageEvent>()[0].picture.pixels,
                Alone(requests[i]).pixels)
          << "request " << i;
    }
  }
}

TEST_F(EnginePoolTest, TheSumOfPeaksMayExceedThePool) {
  EngineOptions options;
  options.scheduler.policy = SchedulingPolicy::kPreview;
  MakeEngine(2, options);
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 4; ++i) sinks.push_back(Submit(Request("cat", i)));
  bool exceeded = false;
  while (engine_->RunOnce()) {
    const EngineStats stats = engine_->Stats();
    EXPECT_LE(stats.used_blocks, stats.limit_blocks);
    EXPECT_EQ(stats.plan_error_blocks, 0);
    exceeded |= stats.peak_sum_blocks > stats.limit_blocks;
  }
  EXPECT_TRUE(exceeded);
  for (const auto& sink : sinks) EXPECT_TRUE(sink->status->ok());
}

TEST_F(EnginePoolTest, RunsOnALowerTierOnlyByConsentAndSaysSo) {
  MakeEngine(1);
  GenerationRequest willing = Request("willing");
  willing.least_tier = 1;
  const auto first = Submit(Request("first"));
  const auto second = Submit(willing);
  const auto third = Submit(Request("third"));
  RunUntilIdle();
  const auto started = second->All<StartedEvent>();
  ASSERT_EQ(started.size(), 1);
  EXPECT_EQ(started[0].tier, 1);
  EXPECT_EQ(started[0].peak_bytes,
            engine_->schedules()->plan(0, 1).guided->peak_bytes());
  EXPECT_EQ(second->usage.tier, 1);
  EXPECT_EQ(second->All<ImageEvent>()[0].picture.pixels,
            Alone(Request("willing", 1, 1, 1)).pixels);
  EXPECT_EQ(first->usage.tier, 0);
  EXPECT_EQ(third->All<StartedEvent>()[0].tier, 0);
  EXPECT_EQ(observer_.lower_tiers, 1);
}

TEST_F(EnginePoolTest, ConsentLetsInWhatWouldNeverFitOnItsOwnTier) {
  EngineOptions options;
  options.pool_blocks = MakeFakeBook()->plan(0, 0).guided->peak_blocks() - 1;
  MakeEngine(1, options);
  const auto sink = std::make_shared<RecordingSink>();
  EXPECT_EQ(engine_->Submit(Request("cat"), sink).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(observer_.refusals, ElementsAre(Refusal::kNeverFits));
  GenerationRequest willing = Request("cat");
  willing.least_tier = 1;
  const auto taken = Submit(willing);
  RunUntilIdle();
  EXPECT_TRUE(taken->status->ok());
  EXPECT_EQ(taken->usage.tier, 1);
}

TEST_F(EnginePoolTest, RefusesWhatCannotBeDoneByItsDeadlineWithTheEstimate) {
  MakeEngine(1);
  TurnTheClockWithTheModel();
  Submit(Request("measured"));
  RunUntilIdle();
  GenerationRequest request = Request("cat");
  request.deadline = clock_.Now() + absl::Seconds(6);
  const auto sink = std::make_shared<RecordingSink>();
  const absl::Status status = engine_->Submit(request, sink).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(
      std::string(status.message()),
      testing::AllOf(HasSubstr("done in 7s at best"), HasSubstr("is in 6s")));
  EXPECT_TRUE(sink->events.empty());
  EXPECT_THAT(observer_.refusals, ElementsAre(Refusal::kDeadline));
  request.deadline = clock_.Now() + absl::Seconds(7);
  const auto taken = Submit(request);
  RunUntilIdle();
  EXPECT_TRUE(taken->status->ok());
}

TEST_F(EnginePoolTest, AnotherTenantsBacklogIsNoReasonToRefuse) {
  MakeEngine(1);
  TurnTheClockWithTheModel();
  Submit(Request("measured"));
  RunUntilIdle();
  for (int i = 0; i < 5; ++i) Submit(Request("backlog", i));
  GenerationRequest request = Request("cat");
  request.deadline = clock_.Now() + absl::Seconds(20);
  const auto sink = std::make_shared<RecordingSink>();
  EXPECT_EQ(engine_->Submit(request, sink).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  request.tenant = "another";
  const auto taken = Submit(request);
  RunUntilIdle();
  EXPECT_TRUE(taken->status.has_value());
}

TEST_F(EnginePoolTest, AnEstimateThatOnlyRefusesIsBelievedLessAndLess) {
  MakeEngine(1);
  TurnTheClockWithTheModel();
  script_->step_cost = [](int, int) { return absl::Seconds(100); };
  Submit(Request("a cold start"));
  RunUntilIdle();
  script_->step_cost = [](int, int) { return absl::Seconds(1); };
  const auto sink = std::make_shared<RecordingSink>();
  int refused = 0;
  while (true) {
    GenerationRequest request = Request("cat");
    request.deadline = clock_.Now() + absl::Seconds(10);
    if (engine_->Submit(request, sink).ok()) break;
    ASSERT_LT(++refused, 100);
  }
  EXPECT_GT(refused, 0);
  RunUntilIdle();
  EXPECT_TRUE(sink->status->ok());
}

TEST_F(EnginePoolTest, ASmallerPoolInTheMiddleOfAStepBreaksNobody) {
  const std::int64_t peak = MakeFakeBook()->plan(0, 0).guided->peak_blocks();
  for (std::int64_t limit = peak; limit <= 2 * peak; ++limit) {
    script_ = std::make_shared<model::FakeModel::Script>();
    MakeEngine(3);
    std::vector<std::shared_ptr<RecordingSink>> sinks;
    for (int i = 0; i < 3; ++i) sinks.push_back(Submit(Request("cat", i)));
    script_->on_step = [&](const std::string&, std::uint64_t, int scale) {
      SchedulerOptions smaller = engine_->scheduler_options();
      smaller.limit_blocks = limit;
      if (scale == 0) {
        EXPECT_TRUE(engine_->Reconfigure(smaller, engine_->schedules()).ok());
      }
      return absl::OkStatus();
    };
    RunUntilIdle();
    for (const auto& sink : sinks) EXPECT_TRUE(sink->status->ok());
    EXPECT_EQ(engine_->Stats().effective_limit_blocks, limit);
  }
}

TEST_F(EnginePoolTest, EstimatesWhatThenHappens) {
  MakeEngine(1);
  TurnTheClockWithTheModel();
  EXPECT_FALSE(engine_->EstimateRequest(Request("cat"))->expected_run);
  Submit(Request("measured"));
  RunUntilIdle();
  Submit(Request("ahead"));
  Submit(Request("ahead too", 1, 2));
  auto estimate = engine_->EstimateRequest(Request("cat"));
  ASSERT_TRUE(estimate.ok());
  EXPECT_FALSE(estimate->admissible_now);
  EXPECT_EQ(estimate->requests_ahead, 2);
  EXPECT_EQ(estimate->expected_wait, absl::Seconds(3 * 7));
  EXPECT_EQ(estimate->expected_run, absl::Seconds(7));
  EXPECT_THAT(estimate->scale_times, testing::Each(absl::Seconds(1)));
  EXPECT_GT(estimate->byte_seconds, 0);
  RunUntilIdle();
  estimate = engine_->EstimateRequest(Request("cat"));
  EXPECT_TRUE(estimate->admissible_now);
  EXPECT_EQ(estimate->expected_wait, absl::ZeroDuration());
  const auto sink = Submit(Request("cat"));
  EXPECT_EQ(sink->All<AcceptedEvent>()[0].expected_run, absl::Seconds(7));
  RunUntilIdle();
  EXPECT_EQ(sink->usage.total, absl::Seconds(7));
}

TEST_F(EnginePoolTest, AnUrgentRequestStartsBeforeThoseThatCameEarlier) {
  MakeEngine(8);
  Submit(Request("a"));
  Submit(Request("b"));
  GenerationRequest urgent = Request("urgent");
  urgent.priority = Priority::kHigh;
  const auto sink = Submit(urgent);
  for (int i = 0; i < 5; ++i) engine_->RunOnce();
  EXPECT_TRUE(sink->status.has_value());
  RunUntilIdle();
}

TEST_F(EnginePoolTest, TenantsAreChargedForTheImagesThatStart) {
  MakeEngine(2);
  for (int i = 0; i < 3; ++i) {
    GenerationRequest request = Request("cat", i);
    request.tenant = i == 0 ? "one" : "two";
    Submit(request);
  }
  RunUntilIdle();
  EXPECT_GT(observer_.charges["one"], 0);
  EXPECT_DOUBLE_EQ(observer_.charges["two"], 2 * observer_.charges["one"]);
}

TEST_F(EnginePoolTest, StartsNoFurtherImageForAReaderWhoIsBehind) {
  EngineOptions options;
  options.scheduler.max_running_images = 1;
  MakeEngine(4, options);
  const auto slow = Submit(Request("slow", 1, 2));
  const auto other = Submit(Request("other"));
  engine_->RunOnce();
  slow->wants_more = false;
  RunUntilIdle();
  EXPECT_EQ(slow->All<ImageEvent>().size(), 1);
  EXPECT_TRUE(other->status->ok());
  EXPECT_FALSE(slow->status.has_value());
  slow->wants_more = true;
  RunUntilIdle();
  EXPECT_EQ(slow->All<ImageEvent>().size(), 2);
  EXPECT_TRUE(slow->status->ok());
}

TEST_F(EnginePoolTest, ASmallerPoolBreaksNobodyWhoRuns) {
  EngineOptions options;
  options.scheduler.policy = SchedulingPolicy::kPreview;
  MakeEngine(3, options);
  std::vector<std::shared_ptr<RecordingSink>> running;
  for (int i = 0; i < 3; ++i) running.push_back(Submit(Request("cat", i)));
  for (int i = 0; i < 5; ++i) engine_->RunOnce();
  const auto doomed = Submit(Request("too large now"));
  SchedulerOptions smaller = engine_->scheduler_options();
  smaller.limit_blocks = engine_->schedules()->plan(0, 1).guided->peak_blocks();
  ASSERT_TRUE(engine_->Reconfigure(smaller, engine_->schedules()).ok());
  const auto small = Submit(Request("small", 1, 1, 1));
  while (engine_->RunOnce()) {
    const EngineStats stats = engine_->Stats();
    EXPECT_LE(stats.used_blocks, stats.effective_limit_blocks);
    EXPECT_EQ(stats.plan_error_blocks, 0);
  }
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(running[i]->status->ok());
    EXPECT_EQ(running[i]->All<ImageEvent>()[0].picture.pixels,
              Alone(Request("cat", i)).pixels);
  }
  EXPECT_EQ(doomed->status->code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(small->status->ok());
  EXPECT_EQ(engine_->Stats().effective_limit_blocks, smaller.limit_blocks);
}

TEST_F(EnginePoolTest, RefusesALimitAboveTheArenaWithBothNumbers) {
  MakeEngine(1);
  SchedulerOptions larger = engine_->scheduler_options();
  const std::int64_t arena = larger.limit_blocks;
  ++larger.limit_blocks;
  const absl::Status status =
      engine_->Reconfigure(larger, engine_->schedules());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(HasSubstr(absl::StrCat(arena)),
                             HasSubstr(absl::StrCat(arena + 1))));
  EXPECT_EQ(engine_->scheduler_options().limit_blocks, arena);
}

TEST_F(EnginePoolTest, TheViewOfThePoolAddsUp) {
  MakeEngine(4);
  GenerationRequest request = Request("cat", 1, 2);
  request.request_id = "mine";
  request.tenant = "me";
  Submit(request);
  Submit(Request("dog", 1, 1, 1));
  for (int i = 0; i < 3; ++i) engine_->RunOnce();
  const PoolSnapshot view = View(/*per_head=*/true);
  ASSERT_EQ(view.images.size(), 3);
  EXPECT_EQ(view.images[0].request_id, "mine");
  EXPECT_EQ(view.images[0].tenant, "me");
  EXPECT_EQ(view.images[2].tier, "half");
  std::int64_t held = 0;
  std::vector<std::int64_t> heads(4);
  for (const ImageSnapshot& image : view.images) {
    EXPECT_EQ(image.scales_done, 3);
    EXPECT_EQ(image.scales, 5);
    EXPECT_EQ(std::accumulate(image.head_blocks.begin(),
                              image.head_blocks.end(), std::int64_t{0}),
              image.held_blocks);
    held += image.held_blocks;
    for (int h = 0; h < 4; ++h) heads[h] += image.head_blocks[h];
  }
  EXPECT_GT(held, 0);
  EXPECT_EQ(held, view.stats.used_blocks);
  EXPECT_EQ(heads, view.stats.head_blocks);
  EXPECT_TRUE(View(/*per_head=*/false).images[0].head_blocks.empty());
  RunUntilIdle();
}

TEST_F(EnginePoolTest, ViewsAreAnsweredWithoutWorkAndAtTheEnd) {
  MakeEngine(1);
  engine_->Start();
  std::atomic<int> answers = 0;
  std::mutex mutex;
  std::condition_variable answered;
  engine_->ViewPool(false, [&](PoolSnapshot) {
    const std::lock_guard<std::mutex> lock(mutex);
    ++answers;
    answered.notify_all();
  });
  {
    std::unique_lock<std::mutex> lock(mutex);
    answered.wait(lock, [&] { return answers == 1; });
  }
  engine_->ViewPool(false, [&](PoolSnapshot) { ++answers; });
  engine_.reset();
  EXPECT_EQ(answers, 2);
}

TEST_F(EnginePoolTest, UndrainingTakesRequestsAgain) {
  MakeEngine(1);
  engine_->Drain(absl::InfiniteFuture());
  const auto sink = std::make_shared<RecordingSink>();
  EXPECT_EQ(engine_->Submit(Request("cat"), sink).status().code(),
            absl::StatusCode::kUnavailable);
  engine_->Undrain();
  EXPECT_FALSE(engine_->Stats().draining);
  const auto taken = Submit(Request("cat"));
  RunUntilIdle();
  EXPECT_TRUE(taken->status->ok());
  engine_->Drain(clock_.Now());
  engine_->Undrain();
  EXPECT_TRUE(engine_->Stats().draining) << "its deadline has passed";
}

}  // namespace
}  // namespace heatkv::server
