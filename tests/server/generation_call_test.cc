// A call's own concurrency, without a transport: the engine's thread, encoding
// threads, a writer that finishes late and a client that cancels all meet in
// one GenerationCall.  The race detector sees all of it (it does not see into
// gRPC, so rpc_test is not run under it).

#include "server/rpc/generation_call.h"

#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/server/engine_fixture.h"

namespace heatkv::server {
namespace {

class SilentObserver final : public ServerObserver {
 public:
  void OnCall(const CallRecord&) override { ++calls; }
  void OnStage(Stage, absl::Duration) override {}
  void OnScale(int, absl::Duration) override {}
  void OnImage(const std::string&, const absl::Status&) override {}

  std::atomic<int> calls = 0;
};

// Its writes are finished by a thread of `writers`.
class WatchedCall final : public GenerationCall {
 public:
  WatchedCall(const CallServices* services, WorkerPool* writers, bool fails)
      : GenerationCall(services, "GenerateImageStream", Reader::kStream),
        writers_(writers),
        fails_(fails) {}

  std::atomic<int> closed = 0;
  std::atomic<int> images = 0;
  std::atomic<int> code = -1;

 private:
  bool Write(v1::GenerateImageEvent event) override {
    EXPECT_EQ(closed, 0) << "written after the end";
    EXPECT_FALSE(is_writing_.exchange(true)) << "two writes at once";
    EXPECT_GT(event.sequence(), last_sequence_);
    last_sequence_ = event.sequence();
    images += event.has_image();
    const bool ok = !fails_ || event.sequence() < 4;
    writers_->Schedule([self = shared_from_this(), this, ok] {
      is_writing_ = false;
      OnWritten(ok);
    });
    return false;
  }
  void Close(const grpc::Status& status) override {
    EXPECT_FALSE(is_writing_);
    code = status.error_code();
    ++closed;
  }

  WorkerPool* writers_;
  const bool fails_;
  std::atomic<bool> is_writing_ = false;
  std::uint64_t last_sequence_ = 0;
};

TEST(GenerationCallTest, EndsExactlyOnceWhateverMeetsInIt) {
  constexpr int kCalls = 60;
  const auto script = std::make_shared<model::FakeModel::Script>();
  script->on_step = [](const std::string& prompt, std::uint64_t, int scale) {
    return prompt == "bad" && scale == 3 ? absl::InternalError("told to")
                                         : absl::OkStatus();
  };
  const SystemClock clock;
  SilentObserver observer;
  EngineOptions options;
  options.pool_blocks = 500;
  options.scheduler.queue.max_requests = 1000;
  options.scheduler.queue.max_bytes = std::int64_t{1} << 40;
  auto engine =
      Engine::Create(options, std::make_unique<model::FakeModel>(script),
                     MakeFakeBook(), &clock, &observer);
  ASSERT_TRUE(engine.ok());
  CallCount count;
  WorkerPool encoders(2);
  WorkerPool writers(2);
  CallServices services;
  services.engine = engine->get();
  services.encoders = &encoders;
  services.calls = &count;
  services.observer = &observer;
  services.clock = &clock;
  services.rules.spec = &(*engine)->spec();
  services.rules.offer = [&] {
    return TierOffer{(*engine)->schedules(), "half"};
  };
  services.rules.count_tokens = [](absl::string_view) { return 1; };
  services.rules.draw_seed = [] { return std::uint64_t{1}; };
  services.rules.make_request_id = [] { return std::string("id"); };
  services.sha256 = [](absl::string_view) { return std::string("sha"); };
  (*engine)->Start();

  std::mt19937 random(5);
  std::vector<std::shared_ptr<WatchedCall>> calls;
  std::vector<std::thread> clients;
  for (int i = 0; i < kCalls; ++i) {
    calls.push_back(
        std::make_shared<WatchedCall>(&services, &writers, i % 7 == 3));
    v1::GenerateImageRequest request;
    request.set_prompt(i % 5 == 4 ? "bad" : i % 11 == 10 ? "" : "good");
    request.set_n(1 + random() % 3);
    request.mutable_previews()->set_every_scale(i % 2 == 0);
    const bool cancels = i % 3 == 2;
    clients.emplace_back([call = calls.back(), request, cancels] {
      call->Start(request, "peer", absl::Minutes(1));
      call->LookAfter();
      if (cancels) call->CancelByClient();
    });
  }
  for (std::thread& client : clients) client.join();
  ASSERT_TRUE((*engine)->AwaitIdle(absl::Seconds(60)));
  for (int i = 0; i < kCalls; ++i) {
    while (calls[i]->closed == 0) std::this_thread::yield();
    const bool lucky = i % 7 != 3 && i % 5 != 4 && i % 11 != 10 && i % 3 != 2;
    if (lucky) {
      EXPECT_EQ(calls[i]->code, 0);
      EXPECT_GE(calls[i]->images, 1);
    }
    if (i % 11 == 10 && i % 5 != 4) {
      EXPECT_EQ(calls[i]->code, 3);
    }
  }
  EXPECT_EQ(observer.calls, kCalls);
  for (const auto& call : calls) EXPECT_EQ(call->closed, 1);
  EXPECT_EQ((*engine)->Stats().used_blocks, 0);
}

}  // namespace
}  // namespace heatkv::server
