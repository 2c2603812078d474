// The public interface over a real gRPC connection, with the fake model behind
// it.

#ifndef TESTS_SERVER_RPC_FIXTURE_H_
#define TESTS_SERVER_RPC_FIXTURE_H_

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"
#include "heatkv/v1/image_generation.grpc.pb.h"
#include "server/rpc/public_interface.h"
#include "tests/server/engine_fixture.h"

namespace heatkv::server {

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

class RpcFixture : public testing::Test {
 protected:
  // With interface_options_ and engine_options_ as the test has set them.
  void Start() {
    if (engine_options_.pool_blocks == 0) engine_options_.pool_blocks = 1000;
    auto engine = Engine::Create(engine_options_,
                                 std::make_unique<model::FakeModel>(script_),
                                 MakeFakeBook(), &clock_, &observer_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    interface_options_.listen = "127.0.0.1:0";
    interface_options_.default_tier = "half";
    interface_options_.server_version = "9.9.9";
    interface_options_.model_sha256 = "abc";
    interface_options_.sha256 = [](absl::string_view bytes) {
      return absl::StrCat("sha of ", bytes.size());
    };
    auto started = PublicInterface::Start(interface_options_, engine_.get(),
                                          &observer_, &clock_);
    ASSERT_TRUE(started.ok()) << started.status();
    interface_ = *std::move(started);
    stub_ = NewStub({});
    engine_->Start();
  }

  // Over a connection of its own.
  std::unique_ptr<v1::ImageGeneration::Stub> NewStub(
      const grpc::ChannelArguments& arguments) const {
    return v1::ImageGeneration::NewStub(grpc::CreateCustomChannel(
        absl::StrCat("127.0.0.1:", interface_->port()),
        grpc::InsecureChannelCredentials(), arguments));
  }

  // Of a client who takes next to nothing that he did not ask for.
  static grpc::ChannelArguments SmallWindow() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 16);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return arguments;
  }

  ~RpcFixture() override {
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

  EngineOptions engine_options_;
  PublicInterfaceOptions interface_options_;
  std::shared_ptr<model::FakeModel::Script> script_ =
      std::make_shared<model::FakeModel::Script>();
  SystemClock clock_;
  CountingObserver observer_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<PublicInterface> interface_;
  std::unique_ptr<v1::ImageGeneration::Stub> stub_;
};

}  // namespace heatkv::server

#endif  // TESTS_SERVER_RPC_FIXTURE_H_
