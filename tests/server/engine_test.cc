// The engine's promises to one request and to many: events, order, interleaving
// and exact bytes.  What happens when things end early is in
// engine_ending_test.cc.

#include "server/engine/engine.h"

#include <numeric>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "server/engine/retry_hint.h"
#include "tests/server/engine_fixture.h"

namespace heatkv::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class EngineTest : public EngineFixture {};

TEST_F(EngineTest, ReportsTheLifeOfARequestInOrder) {
  MakeEngine(1);
  GenerationRequest request = Request("cat");
  request.preview_after = {false, true, false, false, false};
  const auto sink = Submit(request);
  RunUntilIdle();

  ASSERT_EQ(sink->status, absl::OkStatus());
  ASSERT_EQ(sink->events.size(), 1 + 1 + 5 + 1 + 1);
  EXPECT_TRUE(std::holds_alternative<AcceptedEvent>(sink->events[0]));
  EXPECT_TRUE(std::holds_alternative<StartedEvent>(sink->events[1]));
  EXPECT_TRUE(std::holds_alternative<ScaleDoneEvent>(sink->events[2]));
  EXPECT_TRUE(std::holds_alternative<ScaleDoneEvent>(sink->events[3]));
  EXPECT_TRUE(std::holds_alternative<PreviewEvent>(sink->events[4]));
  EXPECT_TRUE(std::holds_alternative<ImageEvent>(sink->events[8]));
  EXPECT_EQ(sink->All<PreviewEvent>()[0].scale, 1);
  EXPECT_EQ(sink->usage.images, 1);
}

TEST_F(EngineTest, HoldsExactlyWhatTheTrajectorySaysAtEveryScale) {
  MakeEngine(2);
  for (const int tier : {0, 1}) {
    for (const double guidance : {1.0, 3.0}) {
      GenerationRequest request = Request("cat", 5, 1, tier);
      request.guidance = guidance;
      const auto sink = Submit(request);
      RunUntilIdle();
      const cache::Trajectory& trajectory =
          *engine_->schedules()->plan(0, tier).trajectory(guidance == 1 ? 1
                                                                        : 2);
      const auto scales = sink->All<ScaleDoneEvent>();
      ASSERT_EQ(scales.size(), 5);
      for (int s = 0; s < 5; ++s) {
        EXPECT_EQ(scales[s].held_bytes,
                  trajectory.bytes(trajectory.blocks_after(s)));
        EXPECT_EQ(scales[s].planned_bytes, scales[s].held_bytes);
      }
      EXPECT_EQ(sink->All<AcceptedEvent>()[0].peak_bytes,
                trajectory.peak_bytes());
      EXPECT_EQ(sink->usage.peak_cache_bytes, trajectory.peak_bytes());
      EXPECT_EQ(sink->usage.full_cache_bytes, trajectory.full_cache_bytes());
    }
  }
}

TEST_F(EngineTest, AnImageIsTheSameInCompanyAsAlone) {
  MakeEngine(3);
  std::vector<GenerationRequest> requests;
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 9; ++i) {
    requests.push_back(Request(absl::StrCat("prompt ", i % 4), i, 1, i % 2));
    sinks.push_back(Submit(requests.back()));
    engine_->RunOnce();
  }
  RunUntilIdle();
  for (int i = 0; i < 9; ++i) {
    ASSERT_EQ(sinks[i]->status, absl::OkStatus());
    EXPECT_EQ(sinks[i]->All<ImageEvent>()[0].picture.pixels,
              Alone(requests[i]).pixels)
        << "request " << i;
  }
}

TEST_F(EngineTest, TheImagesOfARequestDependOnTheirSeedsAlone) {
  MakeEngine(4);
  const auto sink = Submit(Request("cat", 40, 3));
  RunUntilIdle();
  const auto images = sink->All<ImageEvent>();
  ASSERT_EQ(images.size(), 3);
  for (const ImageEvent& image : images) {
    EXPECT_EQ(image.picture.pixels,
              Alone(Request("cat", 40 + image.image)).pixels);
  }
  EXPECT_NE(images[0].picture.pixels, images[1].picture.pixels);
}

TEST_F(EngineTest, WaitsForRoomAndStartsInTheOrderOfArrival) {
  MakeEngine(1);
  const auto first = Submit(Request("first"));
  const auto second = Submit(Request("second"));
  const auto third = Submit(Request("third"));
  engine_->RunOnce();
  EXPECT_EQ(engine_->Stats().running_images, 1);
  EXPECT_EQ(engine_->Stats().waiting_requests, 2);
  RunUntilIdle();
  EXPECT_EQ(script_->steps[5], "second/1/0");
  EXPECT_EQ(script_->steps[10], "third/1/0");
  EXPECT_EQ(second->All<AcceptedEvent>()[0].queue_position, 1);
  std::vector<int> positions;
  for (const auto& e : third->All<QueuedEvent>())
    positions.push_back(e.position);
  EXPECT_THAT(positions, ElementsAre(1, 0));
  EXPECT_TRUE(first->All<QueuedEvent>().empty());
}

TEST_F(EngineTest, NeverRunsMoreImagesThanAllowed) {
  EngineOptions options;
  options.scheduler.max_running_images = 2;
  MakeEngine(10, options);
  Submit(Request("cat", 1, 5));
  int most = 0;
  while (engine_->RunOnce()) {
    most = std::max(most, engine_->Stats().running_images);
  }
  EXPECT_EQ(most, 2);
}

TEST_F(EngineTest, RefusesWhatCanNeverFitWithBothNumbers) {
  EngineOptions options;
  options.pool_blocks = 9;
  MakeEngine(1, options);
  const cache::Trajectory& plan = *engine_->schedules()->plan(0, 0).guided;
  ASSERT_GT(plan.peak_blocks(), 9);
  const auto sink = std::make_shared<RecordingSink>();
  const absl::Status status = engine_->Submit(Request("cat"), sink).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat(plan.peak_bytes(), " bytes")));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat(plan.bytes(9))));
  EXPECT_TRUE(sink->events.empty());
}

TEST_F(EngineTest, RefusesBeyondTheBoundOfRequestsWithARetryHint) {
  EngineOptions options;
  options.scheduler.queue.max_requests = 2;
  MakeEngine(1, options);
  Submit(Request("a"));
  Submit(Request("b"));
  const auto sink = std::make_shared<RecordingSink>();
  const absl::Status status = engine_->Submit(Request("c"), sink).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("2 of 2"));
  ASSERT_TRUE(RetryHint(status).has_value());
  EXPECT_GE(*RetryHint(status), absl::Seconds(1));
  RunUntilIdle();
  EXPECT_TRUE(engine_->Submit(Request("c"), sink).ok());
  RunUntilIdle();
}

TEST_F(EngineTest, RefusesBeyondTheBoundOfBytesButNotAnEmptyLine) {
  EngineOptions options;
  options.scheduler.queue.max_bytes = 1;
  MakeEngine(1, options);
  Submit(Request("a", 1, 3));
  const auto sink = std::make_shared<RecordingSink>();
  EXPECT_EQ(engine_->Submit(Request("b"), sink).status().code(),
            absl::StatusCode::kResourceExhausted);
  RunUntilIdle();
}

TEST_F(EngineTest, EncodesAPromptOnceWhileItIsRemembered) {
  EngineOptions options;
  options.cached_prompts = 2;
  MakeEngine(1, options);
  for (const char* prompt : {"a", "b", "a", "c", "a", "b"}) {
    Submit(Request(prompt));
    RunUntilIdle();
  }
  EXPECT_EQ(script_->encodings, 4);  // b left when c came
}

TEST_F(EngineTest, WarmsTheModelUpOnItsOwnThreadBeforeAnyRequest) {
  std::thread::id warmed_by;
  script_->on_warm_up = [&] {
    warmed_by = std::this_thread::get_id();
    EXPECT_TRUE(script_->steps.empty());
    return absl::OkStatus();
  };
  MakeEngine(1);
  std::thread::id encoded_by;
  script_->on_encode = [&](const std::string&) {
    encoded_by = std::this_thread::get_id();
    return absl::OkStatus();
  };
  Submit(Request("a"));
  engine_->Start();
  EXPECT_TRUE(engine_->AwaitWarm().ok());
  EXPECT_TRUE(engine_->AwaitIdle(absl::Seconds(30)));
  EXPECT_NE(warmed_by, std::this_thread::get_id());
  EXPECT_EQ(warmed_by, encoded_by);
}

TEST_F(EngineTest, SaysWhyTheModelDidNotWarmUp) {
  script_->on_warm_up = [] { return absl::InternalError("too cold"); };
  MakeEngine(1);
  engine_->Start();
  EXPECT_EQ(engine_->AwaitWarm(), absl::InternalError("too cold"));
}

TEST_F(EngineTest, ATextThatIsBeingEncodedHoldsNobodyElseUp) {
  script_->prepares_texts = true;
  script_->ready_texts = {"b"};
  MakeEngine(4);
  const auto slow = Submit(Request("a"));
  const auto quick = Submit(Request("b"));
  RunUntilIdle();
  EXPECT_EQ(script_->prepared_texts, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(quick->status.has_value());
  EXPECT_FALSE(slow->status.has_value());
  script_->ready_texts.insert("a");
  RunUntilIdle();
  EXPECT_TRUE(slow->status.has_value());
  EXPECT_EQ(script_->encodings, 2);
}

TEST_F(EngineTest, ATextThatIsRememberedIsNotPrepared) {
  MakeEngine(1);
  for (int i = 0; i < 2; ++i) {
    Submit(Request("a"));
    RunUntilIdle();
  }
  EXPECT_EQ(script_->prepared_texts, std::vector<std::string>{"a"});
}

TEST_F(EngineTest, RemembersPromptsWithinTheirBytes) {
  EngineOptions options;
  // A fake text has 1000 bytes a character and 1000 more.
  options.cached_prompt_bytes = 5000;
  MakeEngine(1, options);
  for (const char* prompt : {"a", "b", "a", "abcd", "a", "abcde", "abcde"}) {
    Submit(Request(prompt));
    RunUntilIdle();
  }
  // "a" and "b", then "abcd" alone, "a", and "abcde" every time.
  EXPECT_EQ(script_->encodings, 6);
}

TEST_F(EngineTest, BytesOfAllHeadsAddUpToThePoolsUse) {
  MakeEngine(4);
  std::mt19937 random(7);
  for (int i = 0; i < 20; ++i) {
    GenerationRequest request = Request("p", i, 1 + random() % 3, random() % 2);
    request.guidance = random() % 2 == 0 ? 1.0 : 3.0;
    Submit(request);
  }
  bool used_something = false;
  while (engine_->RunOnce()) {
    const EngineStats stats = engine_->Stats();
    EXPECT_EQ(std::accumulate(stats.head_blocks.begin(),
                              stats.head_blocks.end(), std::int64_t{0}),
              stats.used_blocks);
    EXPECT_EQ(stats.plan_error_blocks, 0);
    EXPECT_LE(stats.used_blocks, stats.effective_limit_blocks);
    EXPECT_LE(stats.effective_limit_blocks, stats.capacity_blocks);
    used_something |= stats.used_blocks > 0;
  }
  EXPECT_TRUE(used_something);
  EXPECT_EQ(engine_->Stats().used_blocks, 0);
  EXPECT_EQ(script_->live_images, 0);
}

TEST_F(EngineTest, ServesManyThreadsAtOnce) {
  EngineOptions options;
  options.scheduler.queue.max_requests = 1000;
  MakeEngine(3, options);
  engine_->Start();
  std::vector<std::shared_ptr<RecordingSink>> sinks(40);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t, &sinks] {
      for (int i = 0; i < 10; ++i) {
        sinks[t * 10 + i] = std::make_shared<RecordingSink>();
        const auto number = engine_->Submit(Request(absl::StrCat("p", i), t),
                                            sinks[t * 10 + i]);
        ASSERT_TRUE(number.ok());
        if (i % 5 == 4) engine_->Cancel(*number);
        EXPECT_EQ(engine_->Stats().plan_error_blocks, 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(engine_->AwaitIdle(absl::Seconds(60)));
  int done = 0;
  for (const auto& sink : sinks) {
    ASSERT_TRUE(sink->status.has_value());
    if (sink->status->ok()) {
      ++done;
    } else {
      EXPECT_EQ(sink->status->code(), absl::StatusCode::kCancelled);
    }
  }
  EXPECT_GE(done, 32);
  EXPECT_EQ(engine_->Stats().used_blocks, 0);
}

}  // namespace
}  // namespace heatkv::server
