// Requests that end before their last image: cancelled, late, failed, drained.
// Each time the blocks must be back before the next step, and nobody else may
// notice.

#include <string>

#include "gmock/gmock.h"
#include "server/engine/retry_hint.h"
#include "tests/server/engine_fixture.h"

namespace heatkv::server {
namespace {

using testing::HasSubstr;

class EngineEndingTest : public EngineFixture {
 protected:
  void ExpectEmptyPool() {
    const EngineStats stats = engine_->Stats();
    EXPECT_EQ(stats.used_blocks, 0);
    EXPECT_EQ(stats.running_images, 0);
    EXPECT_EQ(stats.plan_error_blocks, 0);
    EXPECT_EQ(script_->live_images, 0);
  }
};

TEST_F(EngineEndingTest, CancellingInMidFlightReturnsEveryBlockWithinOneStep) {
  MakeEngine(3);
  const auto sink = Submit(Request("cat", 1, 2));
  for (int i = 0; i < 3; ++i) engine_->RunOnce();
  ASSERT_GT(engine_->Stats().used_blocks, 0);
  engine_->Cancel(last_number_);
  const int steps = script_->steps.size();
  EXPECT_FALSE(engine_->RunOnce());
  EXPECT_EQ(script_->steps.size(), steps);
  ExpectEmptyPool();
  EXPECT_EQ(sink->status->code(), absl::StatusCode::kCancelled);
}

TEST_F(EngineEndingTest, CancellingBeforeTheDecodingSkipsIt) {
  MakeEngine(1);
  const auto sink = Submit(Request("cat"));
  script_->on_step = [this](const std::string&, std::uint64_t, int scale) {
    if (scale == 4) engine_->Cancel(last_number_);
    return absl::OkStatus();
  };
  script_->on_decode = [](const std::string&) -> absl::Status {
    ADD_FAILURE() << "decoded for nobody";
    return absl::OkStatus();
  };
  RunUntilIdle();
  EXPECT_EQ(sink->status->code(), absl::StatusCode::kCancelled);
  ExpectEmptyPool();
}

TEST_F(EngineEndingTest, CancellingAWaitingRequestLetsTheNextMoveUp) {
  MakeEngine(1);
  const auto first = Submit(Request("first"));
  const auto second = Submit(Request("second"));
  const std::uint64_t second_number = last_number_;
  const auto third = Submit(Request("third"));
  engine_->RunOnce();
  engine_->Cancel(second_number);
  engine_->RunOnce();
  EXPECT_EQ(second->status->code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(third->All<QueuedEvent>().back().position, 0);
  RunUntilIdle();
  EXPECT_TRUE(first->status->ok());
  EXPECT_TRUE(third->status->ok());
}

TEST_F(EngineEndingTest, ALateRequestEndsWithDeadlineExceeded) {
  MakeEngine(1);
  GenerationRequest request = Request("cat");
  request.deadline = clock_.Now() + absl::Seconds(3);
  const auto running = Submit(request);
  const auto waiting = Submit(request);
  engine_->RunOnce();
  clock_.Advance(absl::Seconds(2));
  engine_->RunOnce();
  EXPECT_FALSE(running->status.has_value());
  clock_.Advance(absl::Seconds(1));
  engine_->RunOnce();
  EXPECT_EQ(running->status->code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(waiting->status->code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(running->status->message()),
              HasSubstr("0 of 1 images"));
  ExpectEmptyPool();
}

TEST_F(EngineEndingTest, AFailedStepEndsItsRequestAloneAndSaysWhere) {
  MakeEngine(3);
  script_->on_step = [](const std::string& prompt, std::uint64_t, int scale) {
    return prompt == "bad" && scale == 2
               ? absl::InternalError("logits are not finite")
               : absl::OkStatus();
  };
  const auto good = Submit(Request("good"));
  const auto bad = Submit(Request("bad", 1, 2));
  const auto later = Submit(Request("later"));
  RunUntilIdle();
  EXPECT_EQ(bad->status->code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(bad->status->message()),
              testing::AllOf(HasSubstr("image 0, scale 3"),
                             HasSubstr("logits are not finite")));
  ASSERT_TRUE(good->status->ok());
  ASSERT_TRUE(later->status->ok());
  EXPECT_EQ(good->All<ImageEvent>()[0].picture.pixels,
            Alone(Request("good")).pixels);
  ExpectEmptyPool();
  EXPECT_EQ(observer_.images.size(), 4);
}

TEST_F(EngineEndingTest, AFailedEncodingOrDecodingEndsItsRequestAlone) {
  MakeEngine(2);
  script_->on_encode = [](const std::string& prompt) {
    return prompt == "x" ? absl::InternalError("encode") : absl::OkStatus();
  };
  script_->on_decode = [](const std::string& prompt) {
    return prompt == "y" ? absl::InternalError("decode") : absl::OkStatus();
  };
  const auto x = Submit(Request("x"));
  const auto y = Submit(Request("y"));
  const auto z = Submit(Request("z"));
  RunUntilIdle();
  EXPECT_EQ(x->status->message(), "encode");
  EXPECT_EQ(y->status->message(), "decode");
  EXPECT_TRUE(z->status->ok());
  ExpectEmptyPool();
}

TEST_F(EngineEndingTest, DrainingFinishesWhatWasTakenAndTakesNoMore) {
  MakeEngine(1);
  const auto running = Submit(Request("running"));
  const auto waiting = Submit(Request("waiting"));
  engine_->RunOnce();
  engine_->Drain(clock_.Now() + absl::Seconds(10));
  const auto late = std::make_shared<RecordingSink>();
  const absl::Status refused = engine_->Submit(Request("late"), late).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(RetryHint(refused).has_value());
  EXPECT_FALSE(engine_->AwaitIdle(absl::ZeroDuration()));
  RunUntilIdle();
  EXPECT_TRUE(running->status->ok());
  EXPECT_TRUE(waiting->status->ok());
  EXPECT_TRUE(engine_->AwaitIdle(absl::ZeroDuration()));
}

TEST_F(EngineEndingTest, TheDrainsDeadlineEndsTheRestWithUnavailable) {
  MakeEngine(1);
  const auto running = Submit(Request("running"));
  const auto waiting = Submit(Request("waiting"));
  engine_->RunOnce();
  engine_->Drain(clock_.Now() + absl::Seconds(10));
  clock_.Advance(absl::Seconds(10));
  engine_->RunOnce();
  EXPECT_EQ(running->status->code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(waiting->status->code(), absl::StatusCode::kUnavailable);
  ExpectEmptyPool();
}

TEST_F(EngineEndingTest, ASecondDrainOnlyBringsTheDeadlineForward) {
  MakeEngine(1);
  const auto sink = Submit(Request("cat"));
  engine_->RunOnce();
  engine_->Drain(clock_.Now());
  engine_->Drain(clock_.Now() + absl::Hours(1));
  engine_->RunOnce();
  EXPECT_EQ(sink->status->code(), absl::StatusCode::kUnavailable);
}

TEST_F(EngineEndingTest, DestroyingTheEngineAnswersEveryRequest) {
  MakeEngine(1);
  const auto running = Submit(Request("running"));
  const auto waiting = Submit(Request("waiting"));
  engine_->RunOnce();
  engine_.reset();
  EXPECT_EQ(running->status->code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(waiting->status->code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(script_->live_images, 0);
}

}  // namespace
}  // namespace heatkv::server
