// The public interface over a real gRPC connection, with the fake model behind
// it: what the engine does must arrive at the client, and the other way round.

#include <atomic>
#include <chrono>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "tests/server/rpc_fixture.h"

namespace heatkv::server {
namespace {

using testing::HasSubstr;

using RpcTest = RpcFixture;

TEST_F(RpcTest, AStreamTellsTheWholeStory) {
  Start();
  grpc::ClientContext context;
  v1::GenerateImageRequest request = Request("cat", 2);
  request.set_request_id("r1");
  const auto reader = stub_->GenerateImageStream(&context, request);
  std::vector<v1::GenerateImageEvent> events;
  v1::GenerateImageEvent event;
  while (reader->Read(&event)) events.push_back(event);
  ASSERT_TRUE(reader->Finish().ok());
  ASSERT_GE(events.size(), 1 + 1 + 2 * 5 + 2 + 1);
  EXPECT_EQ(events[0].accepted().request_id(), "r1");
  EXPECT_EQ(events[0].accepted().schedule_sha256(), "hash of heatkv");
  EXPECT_EQ(events[1].started().tier(), "half");
  EXPECT_EQ(events[1].started().schedule_sha256(), "hash of heatkv");
  EXPECT_EQ(events[1].started().peak_bytes(),
            events[0].accepted().peak_bytes());
  EXPECT_TRUE(events.back().has_completed());
  int scales = 0, images = 0;
  std::uint64_t sequence = 0;
  for (const auto& e : events) {
    EXPECT_GT(e.sequence(), sequence);
    sequence = e.sequence();
    scales += e.has_scale_done();
    images += e.has_image();
    if (e.has_image()) {
      EXPECT_EQ(e.image().sha256(),
                absl::StrCat("sha of ", e.image().data().size()));
      EXPECT_EQ(e.image().recipe().seed(), 5 + e.image().index());
      EXPECT_EQ(e.image().recipe().server_version(), "9.9.9");
    }
  }
  EXPECT_EQ(scales, 10);
  EXPECT_EQ(images, 2);
  const auto calls = observer_.AwaitCalls(1);
  ASSERT_EQ(calls.size(), 1);
  EXPECT_EQ(calls[0].tier, "half");
  EXPECT_EQ(calls[0].usage.images, 2);
}

TEST_F(RpcTest, AUnaryCallGathersTheImages) {
  Start();
  grpc::ClientContext context;
  v1::GenerateImageResponse response;
  ASSERT_TRUE(
      stub_->GenerateImage(&context, Request("cat", 3), &response).ok());
  ASSERT_EQ(response.images_size(), 3);
  EXPECT_FALSE(response.request_id().empty());
  EXPECT_GT(response.usage().peak_cache_bytes(), 0);
  EXPECT_EQ(response.tier(), "half");
}

TEST_F(RpcTest, AModelFailureIsTheStatusAndOthersGoOn) {
  script_->on_step = [](const std::string& prompt, std::uint64_t, int scale) {
    return prompt == "bad" && scale == 1 ? absl::InternalError("not finite")
                                         : absl::OkStatus();
  };
  Start();
  grpc::ClientContext bad_context, good_context;
  v1::GenerateImageResponse response;
  const grpc::Status bad =
      stub_->GenerateImage(&bad_context, Request("bad"), &response);
  EXPECT_EQ(bad.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_THAT(bad.error_message(), HasSubstr("not finite"));
  EXPECT_TRUE(
      stub_->GenerateImage(&good_context, Request("good"), &response).ok());
}

TEST_F(RpcTest, CancellingAStreamReachesTheEngine) {
  std::promise<void> began, cancelled;
  std::atomic<bool> waited = false;
  script_->on_step = [&](const std::string&, std::uint64_t, int scale) {
    if (scale == 1 && !waited.exchange(true)) {
      began.set_value();
      cancelled.get_future().wait_for(std::chrono::seconds(30));
    }
    return absl::OkStatus();
  };
  Start();
  grpc::ClientContext context;
  const auto reader = stub_->GenerateImageStream(&context, Request("cat", 4));
  v1::GenerateImageEvent event;
  ASSERT_TRUE(reader->Read(&event));
  began.get_future().wait();
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  cancelled.set_value();
  EXPECT_TRUE(engine_->AwaitIdle(absl::Seconds(30)));
  EXPECT_EQ(engine_->Stats().used_blocks, 0);
  const auto calls = observer_.AwaitCalls(1);
  ASSERT_EQ(calls.size(), 1);
}

TEST_F(RpcTest, ADrainingEngineAnswersUnavailable) {
  Start();
  interface_->SetServing(false);
  engine_->Drain(absl::InfiniteFuture());
  grpc::ClientContext context;
  v1::GenerateImageResponse response;
  EXPECT_EQ(
      stub_->GenerateImage(&context, Request("cat"), &response).error_code(),
      grpc::StatusCode::UNAVAILABLE);
}

TEST_F(RpcTest, EveryCallGetsExactlyOneAnswerUnderLoadAndCancellation) {
  engine_options_.scheduler.queue.max_requests = 4;
  Start();
  std::atomic<int> ok = 0, cancelled = 0, full = 0, other = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        grpc::ClientContext context;
        const auto reader =
            stub_->GenerateImageStream(&context, Request("cat", 1 + i % 3));
        v1::GenerateImageEvent event;
        int seen = 0;
        while (reader->Read(&event)) {
          if ((t + i) % 3 == 0 && ++seen == i % 7) context.TryCancel();
        }
        switch (reader->Finish().error_code()) {
          case grpc::StatusCode::OK:
            ++ok;
            break;
          case grpc::StatusCode::CANCELLED:
            ++cancelled;
            break;
          case grpc::StatusCode::RESOURCE_EXHAUSTED:
            ++full;
            break;
          default:
            ++other;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ok + cancelled + full, 160);
  EXPECT_EQ(other, 0);
  EXPECT_GT(ok, 0);
  EXPECT_TRUE(engine_->AwaitIdle(absl::Seconds(30)));
  EXPECT_EQ(observer_.AwaitCalls(160).size(), 160);
  EXPECT_EQ(engine_->Stats().used_blocks, 0);
  EXPECT_EQ(script_->live_images, 0);
}

TEST_F(RpcTest, TiersAndTheirDefaultChangeTogether) {
  Start();
  const auto both = engine_->schedules();
  const auto made = ScheduleBook::Create(
      engine_->spec(), both->geometry(), nullptr,
      {{"full", cache::Budget::Full()}},
      [](const cache::Schedule&) { return std::string("hash"); });
  ASSERT_TRUE(made.ok()) << made.status();
  const auto full_alone = std::make_shared<const ScheduleBook>(*made);
  std::atomic<bool> done = false;
  std::thread client([&] {
    for (int i = 0; i < 200; ++i) {
      grpc::ClientContext context;
      v1::EstimateImageRequest request;
      *request.mutable_request() = Request("cat");
      v1::EstimateImageResponse estimate;
      const grpc::Status status =
          stub_->EstimateImage(&context, request, &estimate);
      EXPECT_TRUE(status.ok()) << status.error_message();
      grpc::ClientContext other_context;
      v1::GetCapabilitiesResponse capabilities;
      EXPECT_TRUE(
          stub_->GetCapabilities(&other_context, {}, &capabilities).ok());
      int defaults = 0;
      for (const v1::Tier& tier : capabilities.tiers()) {
        defaults += tier.is_default();
      }
      EXPECT_EQ(defaults, 1);
    }
    done = true;
  });
  const auto change = [&](const std::string& default_tier, const auto& book) {
    return interface_->ChangeTiers(default_tier, [&] {
      return engine_->Reconfigure(engine_->scheduler_options(), book);
    });
  };
  while (!done) {
    EXPECT_TRUE(change("full", full_alone).ok());
    EXPECT_TRUE(change("half", both).ok());
  }
  client.join();
  EXPECT_EQ(interface_->ChangeTiers(
                "full", [] { return absl::InvalidArgumentError("no"); }),
            absl::InvalidArgumentError("no"));
  grpc::ClientContext context;
  v1::EstimateImageRequest request;
  *request.mutable_request() = Request("cat");
  v1::EstimateImageResponse estimate;
  ASSERT_TRUE(stub_->EstimateImage(&context, request, &estimate).ok());
  EXPECT_EQ(estimate.tier(), "half");
}

TEST_F(RpcTest, AnAddressInUseIsNamed) {
  Start();
  PublicInterfaceOptions options;
  options.listen = absl::StrCat("127.0.0.1:", interface_->port());
  options.default_tier = "half";
  const auto second =
      PublicInterface::Start(options, engine_.get(), &observer_, &clock_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr(options.listen));
}

}  // namespace
}  // namespace heatkv::server
