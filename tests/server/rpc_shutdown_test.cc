// What must not keep a server from going down, and readers who stall over a
// real connection.

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "server/rpc/grpc_server.h"
#include "tests/server/rpc_fixture.h"

namespace heatkv::server {
namespace {

using RpcShutdownTest = RpcFixture;

TEST_F(RpcShutdownTest, AModelThatHangsDoesNotKeepTheInterfaceUp) {
  std::promise<void> release;
  std::promise<void> hangs;
  std::atomic<bool> first = true;
  script_->on_step = [&, released = release.get_future().share()](
                         const std::string&, std::uint64_t, int) {
    if (first.exchange(false)) hangs.set_value();
    released.wait();
    return absl::OkStatus();
  };
  Start();
  grpc::ClientContext stream_context, unary_context;
  const auto reader =
      stub_->GenerateImageStream(&stream_context, Request("cat"));
  grpc::Status unary_end;
  std::thread unary([&] {
    v1::GenerateImageResponse response;
    unary_end = stub_->GenerateImage(&unary_context, Request("dog"), &response);
  });
  hangs.get_future().wait();
  const absl::Time begin = absl::Now();
  // Every gRPC call ends, but the engine still has the requests.
  EXPECT_FALSE(interface_->Shutdown(begin + absl::Milliseconds(100)));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(4));
  v1::GenerateImageEvent event;
  while (reader->Read(&event)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
  unary.join();
  EXPECT_FALSE(unary_end.ok());
  release.set_value();
  EXPECT_TRUE(engine_->AwaitIdle(absl::Seconds(30)));
  EXPECT_TRUE(interface_->Shutdown(absl::Now() + absl::Seconds(10)));
}

// Never finishes by itself.
class StuckReactor final : public grpc::ServerUnaryReactor {
 public:
  void OnCancel() override {}
  void OnDone() override { done.set_value(); }
  std::promise<void> done;
};

class StuckService final : public v1::ImageGeneration::CallbackService {
 public:
  grpc::ServerUnaryReactor* GetCapabilities(
      grpc::CallbackServerContext*, const v1::GetCapabilitiesRequest*,
      v1::GetCapabilitiesResponse*) override {
    began.set_value();
    return &reactor;
  }
  StuckReactor reactor;
  std::promise<void> began;
};

TEST(GrpcServerTest, ShutdownReturnsAlthoughACallNeverEnds) {
  static auto* const service = new StuckService;  // outlives the server
  auto server = GrpcServer::Start(
      {.address = "127.0.0.1:0", .service_name = "stuck"}, service);
  ASSERT_TRUE(server.ok()) << server.status();
  const auto stub = v1::ImageGeneration::NewStub(
      grpc::CreateChannel(absl::StrCat("127.0.0.1:", (*server)->port()),
                          grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  std::thread client([&] {
    v1::GetCapabilitiesResponse response;
    EXPECT_FALSE(stub->GetCapabilities(&context, {}, &response).ok());
  });
  service->began.get_future().wait();
  const absl::Time begin = absl::Now();
  EXPECT_FALSE((*server)->Shutdown(begin, absl::Milliseconds(100)));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(2));
  client.join();
  service->reactor.Finish(grpc::Status::OK);
  service->reactor.done.get_future().wait();
}

TEST_F(RpcShutdownTest, AClientWhoReadsNothingIsEndedAndHoldsNothing) {
  interface_options_.stall_timeout = absl::Milliseconds(50);
  interface_options_.outbox_bytes = 1000;
  engine_options_.scheduler.max_running_images = 1;
  Start();
  const auto lazy = NewStub(SmallWindow());
  grpc::ClientContext context;
  const auto reader = lazy->GenerateImageStream(&context, Request("cat", 10));
  const auto calls = observer_.AwaitCalls(1);
  ASSERT_EQ(calls.size(), 1) << "the reader was not noticed";
  EXPECT_EQ(calls[0].status.code(), absl::StatusCode::kAborted);
  EXPECT_LT(calls[0].usage.images, 10) << "images that nobody takes were made";
  EXPECT_TRUE(engine_->AwaitIdle(absl::Seconds(30)));
  EXPECT_EQ(engine_->Stats().used_blocks, 0);
  v1::GenerateImageEvent event;
  while (reader->Read(&event)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
  grpc::ClientContext other_context;
  v1::GenerateImageResponse response;
  EXPECT_TRUE(
      stub_->GenerateImage(&other_context, Request("dog"), &response).ok());
}

}  // namespace
}  // namespace heatkv::server
