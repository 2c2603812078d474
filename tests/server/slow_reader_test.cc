// Clients that read slowly, stop reading, or leave.

#include <future>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/call_fixture.h"

namespace heatkv::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using SlowReaderTest = CallFixture;

TEST_F(SlowReaderTest, AReaderWhoStallsIsEndedAndTheBlocksComeBack) {
  MakeEngine(1);
  MakeServices();
  const auto call = Call(Ask("cat", 3));
  engine_->RunOnce();
  engine_->RunOnce();
  EXPECT_GT(engine_->Stats().used_blocks, 0);
  ASSERT_TRUE(call->is_writing);
  clock_.Advance(absl::Milliseconds(9999));
  call->LookAfter();
  engine_->RunOnce();
  EXPECT_GT(engine_->Stats().used_blocks, 0) << "ended too early";
  clock_.Advance(absl::Milliseconds(1));
  call->LookAfter();
  engine_->RunOnce();
  EXPECT_EQ(engine_->Stats().used_blocks, 0);
  EXPECT_TRUE(engine_->AwaitIdle(absl::ZeroDuration()));
  ASSERT_EQ(observer_.releases.size(), 1);
  EXPECT_EQ(observer_.releases[0].first, EndCause::kStall);
  // A reader who comes back late hears why, and nothing else.
  EXPECT_EQ(call->closed, 0);
  call->Done();
  EXPECT_EQ(call->closed, 1);
  EXPECT_EQ(call->events.size(), 1);
  EXPECT_EQ(call->end.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_THAT(call->end.error_message(), HasSubstr("10s"));
  EXPECT_EQ(call->abandoned, 0);
}

TEST_F(SlowReaderTest, AReaderWhoStaysAwayIsCutOff) {
  MakeEngine(1);
  MakeServices();
  const auto call = Call(Ask("cat"));
  clock_.Advance(absl::Seconds(10));
  call->LookAfter();
  EXPECT_EQ(call->abandoned, 0);
  clock_.Advance(absl::Seconds(10));
  call->LookAfter();
  EXPECT_EQ(call->abandoned, 1);
  call->Done(false);
  EXPECT_EQ(call->closed, 1);
  RunUntilIdle();
  ASSERT_EQ(observer_.calls.size(), 1);
  EXPECT_EQ(observer_.calls[0].status.code(), absl::StatusCode::kAborted);
}

TEST_F(SlowReaderTest, ASlowReaderIsNotAStalledOne) {
  MakeEngine(1);
  MakeServices();
  const auto call = Call(Ask("cat"));
  RunUntilIdle();
  AwaitEncoders();
  while (call->is_writing) {
    clock_.Advance(absl::Milliseconds(9999));
    call->LookAfter();
    call->Done();
  }
  EXPECT_EQ(call->closed, 1);
  EXPECT_TRUE(call->end.ok());
  EXPECT_TRUE(call->events.back().has_completed());
}

// The encoder is a thread that the test holds up.
TEST_F(SlowReaderTest, NoImageStartsWhileTheEncodersAreFarBehind) {
  EngineOptions options;
  options.scheduler.max_running_images = 1;
  MakeEngine(10, options);
  MakeServices();
  services_.backlog_bytes = 1;
  std::promise<void> go_on;
  encoders_.Schedule([&] { go_on.get_future().wait(); });
  v1::GenerateImageRequest request = Ask("cat");
  request.mutable_previews()->add_scales(3);
  const auto first = Call(request);
  request.set_prompt("dog");
  const auto second = Call(request);
  RunUntilIdle();
  EXPECT_GT(encoders_.waiting_bytes(), 1);
  EXPECT_FALSE(second->WantsMore());
  EXPECT_EQ(script_->steps.size(), 5) << "the second image was started";
  EXPECT_GT(engine_->Stats().waiting_requests, 0);
  go_on.set_value();
  AwaitEncoders();
  EXPECT_EQ(encoders_.waiting_bytes(), 0);
  RunUntilIdle();
  EXPECT_EQ(script_->steps.size(), 10);
  AwaitEncoders();
  for (const auto& call : {first, second}) {
    call->ReadAll();
    EXPECT_EQ(call->closed, 1);
    EXPECT_TRUE(call->end.ok());
  }
}

TEST_F(SlowReaderTest, APreviewIsLeftOutWhileTheEncodersAreFarBehind) {
  MakeEngine(10);
  MakeServices();
  services_.backlog_bytes = 1;
  std::promise<void> go_on;
  encoders_.Schedule([&] { go_on.get_future().wait(); });
  v1::GenerateImageRequest request = Ask("cat");
  for (const int scale : {1, 2, 3, 4})
    request.mutable_previews()->add_scales(scale);
  const auto call = Call(request);
  RunUntilIdle();
  go_on.set_value();
  AwaitEncoders();
  call->ReadAll();
  int previews = 0, images = 0;
  for (const v1::GenerateImageEvent& event : call->events) {
    previews += event.has_preview();
    images += event.has_image();
  }
  EXPECT_EQ(previews, 1) << "the one that came before there was a backlog";
  EXPECT_EQ(images, 1) << "images are never left out";
}

TEST_F(SlowReaderTest, NoFurtherImageStartsWhileTooMuchIsUnsent) {
  EngineOptions options;
  options.scheduler.max_running_images = 1;
  MakeEngine(10, options);
  MakeServices();
  services_.outbox_bytes = 1;
  const auto call = Call(Ask("cat", 3));
  const auto other = Call(Ask("dog"));
  RunUntilIdle();
  AwaitEncoders();
  const auto images_of = [&](const std::string& prompt) {
    int images = 0;
    for (const std::string& step : script_->steps) {
      images += step.substr(0, 3) == prompt && step.back() == '4';
    }
    return images;
  };
  EXPECT_FALSE(call->WantsMore());
  EXPECT_EQ(images_of("cat"), 1);
  EXPECT_EQ(images_of("dog"), 1) << "others are not held up";
  call->ReadAll();
  other->ReadAll();
  EXPECT_TRUE(call->WantsMore());
  RunUntilIdle();
  AwaitEncoders();
  EXPECT_EQ(images_of("cat"), 2);
  while (call->closed == 0) {
    call->ReadAll();
    RunUntilIdle();
    AwaitEncoders();
  }
  int images = 0;
  for (const auto& event : call->events) images += event.has_image();
  EXPECT_EQ(images, 3);
  EXPECT_TRUE(call->end.ok());
}

TEST_F(SlowReaderTest, ASilentStreamSendsASignOfLife) {
  MakeEngine(1);
  MakeServices();
  services_.heartbeat = absl::Seconds(3);
  const auto call = Call(Ask("cat"));
  call->ReadAll();
  clock_.Advance(absl::Seconds(2));
  call->LookAfter();
  EXPECT_FALSE(call->is_writing);
  clock_.Advance(absl::Seconds(1));
  call->LookAfter();
  EXPECT_TRUE(call->events.back().has_heartbeat());
  call->ReadAll();
  RunUntilIdle();
  AwaitEncoders();
  call->ReadAll();
  EXPECT_TRUE(call->end.ok());
}

TEST_F(SlowReaderTest, AClientWhoLeavesIsNotWaitedForButReportedAtTheEnd) {
  MakeEngine(1);
  MakeServices();
  const auto call = Call(Ask("cat", 3));
  call->ReadAll();
  engine_->RunOnce();
  call->ReadAll();
  call->CancelByClient();
  EXPECT_EQ(call->closed, 1) << "whatever the engine does";
  EXPECT_EQ(observer_.calls.size(), 0);
  engine_->RunOnce();
  EXPECT_EQ(engine_->Stats().used_blocks, 0);
  ASSERT_EQ(observer_.calls.size(), 1);
  EXPECT_EQ(observer_.calls[0].status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(observer_.calls[0].images_asked, 3);
}

TEST_F(SlowReaderTest, AClientWhoLeavesAtHisDeadlineWasLate) {
  MakeEngine(1);
  MakeServices();
  const auto call = Call(Ask("cat", 3));
  call->ReadAll();
  clock_.Advance(absl::Minutes(5));
  call->CancelByClient();
  engine_->RunOnce();
  ASSERT_EQ(observer_.calls.size(), 1);
  EXPECT_EQ(observer_.calls[0].status.code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(SlowReaderTest, TheTierThatWasGrantedIsInEventsRecipesAndTheReport) {
  const auto& half = *MakeFakeBook()->plan(0, 1).guided;
  ASSERT_LT(half.peak_blocks(),
            MakeFakeBook()->plan(0, 0).guided->peak_blocks());
  EngineOptions options;
  options.pool_blocks = half.peak_blocks();
  MakeEngine(1, options);
  MakeServices();
  v1::GenerateImageRequest request = Ask("cat");
  request.set_tenant("acme");
  request.set_tier("full");
  request.mutable_memory_policy()->set_allow_down_to("half");
  const auto call = Call(request);
  RunUntilIdle();
  AwaitEncoders();
  call->ReadAll();
  ASSERT_TRUE(call->end.ok()) << call->end.error_message();
  int seen = 0;
  for (const auto& event : call->events) {
    if (event.has_accepted()) {
      EXPECT_EQ(event.accepted().tier(), "full");
    } else if (event.has_started()) {
      EXPECT_EQ(event.started().tier(), "half");
      EXPECT_EQ(event.started().schedule_sha256(), "hash of heatkv");
      EXPECT_EQ(event.started().peak_bytes(), half.peak_bytes());
      ++seen;
    } else if (event.has_image()) {
      EXPECT_EQ(event.image().recipe().tier(), "half");
      EXPECT_EQ(event.image().recipe().budget(), 0.5);
      EXPECT_EQ(event.image().recipe().schedule_sha256(), "hash of heatkv");
      ++seen;
    }
  }
  EXPECT_EQ(seen, 2);
  ASSERT_EQ(observer_.calls.size(), 1);
  EXPECT_EQ(observer_.calls[0].tier, "half");
  EXPECT_EQ(observer_.calls[0].tenant, "acme");
}

}  // namespace
}  // namespace heatkv::server
