// The public interface over a real gRPC connection, with the fake model behind
// it: what the engine does must arrive at the client, and the other way round.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"
#include "heatkv/v1/image_generation.grpc.pb.h"
#include "server/rpc/public_interface.h"
#include "tests/server/engine_fixture.h"

namespace heatkv::server {
namespace {

// Counts calls from any thread.
class CountingObserver final : public ServerObserver {
 public:
  void OnCall(const CallRecord& call) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    calls_.push_back(call);
    changed_.notify_all();
  }
  void OnStage(Stage, absl::Duration) override {}
  void OnScale(int, absl::Duration) override {}
  void OnImage(const std::string&, const absl::Status&) override {}

  std::vector<CallRecord> AwaitCalls(std::size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto enough = [&] { return calls_.size() >= count; };
    changed_.wait_for(lock, std::chrono::seconds(30), enough);
    return calls_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<CallRecord> calls_;
};

class RpcTest : public testing::Test {
 protected:
  void Start(EngineOptions options = {}) {
    options.pool_blocks = 1000;
    options.max_waiting_bytes = std::int64_t{1} << 40;
    auto engine =
        Engine::Create(options, std::make_unique<model::FakeModel>(script_),
                       MakeFakeBook(), &clock_, &observer_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    PublicInterfaceOptions interface;
    interface.listen = "127.0.0.1:0";
    interface.default_tier = "half";
    interface.server_version = "9.9.9";
    interface.model_sha256 = "abc";
    interface.sha256 = [](absl::string_view bytes) {
      return absl::StrCat("sha of ", bytes.size());
    };
    auto started =
        PublicInterface::Start(interface, engine_.get(), &observer_, &clock_);
    ASSERT_TRUE(started.ok()) << started.status();
    interface_ = *std::move(started);
    stub_ = v1::ImageGeneration::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", interface_->port()),
                            grpc::InsecureChannelCredentials()));
    engine_->Start();
  }

  ~RpcTest() override {
    if (engine_ != nullptr) engine_->Drain(absl::InfinitePast());
    interface_.reset();
  }

  static v1::GenerateImageRequest Request(const std::string& prompt,
                                          int n = 1) {
    v1::GenerateImageRequest request;
    request.set_prompt(prompt);
    request.set_n(n);
    request.set_seed(5);
    return request;
  }

  std::shared_ptr<model::FakeModel::Script> script_ =
      std::make_shared<model::FakeModel::Script>();
  SystemClock clock_;
  CountingObserver observer_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<PublicInterface> interface_;
  std::unique_ptr<v1::ImageGeneration::Stub> stub_;
};

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
  EXPECT_THAT(bad.error_message(), testing::HasSubstr("not finite"));
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
  EXPECT_EQ(engine_->Stats().reserved_blocks, 0);
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
  EngineOptions options;
  options.max_waiting_requests = 4;
  Start(options);
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
  EXPECT_EQ(engine_->Stats().reserved_blocks, 0);
  EXPECT_EQ(script_->live_images, 0);
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
              testing::HasSubstr(options.listen));
}

}  // namespace
}  // namespace heatkv::server
