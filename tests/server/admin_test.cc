// The operator's interface over a real gRPC connection, with the fake model
// behind it.

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"
#include "heatkv/v1/admin.grpc.pb.h"
#include "server/rpc/admin_interface.h"
#include "tests/server/engine_fixture.h"

namespace heatkv::server {
namespace {

using testing::HasSubstr;

// A sink that nobody looks at.
class DeafSink final : public EventSink {
 public:
  void OnEvent(EngineEvent) override {}
  void OnFinished(const absl::Status&, const RequestUsage&) override {}
};

class NoObserver final : public ServerObserver {
 public:
  void OnCall(const CallRecord&) override {}
  void OnStage(Stage, absl::Duration) override {}
  void OnScale(int, absl::Duration) override {}
  void OnImage(const std::string&, const absl::Status&) override {}
};

class AdminTest : public testing::Test {
 protected:
  AdminTest() : recorder_(1000, &clock_, &nobody_) {
    EngineOptions options;
    options.pool_blocks = 1000;
    auto engine =
        Engine::Create(options, std::make_unique<model::FakeModel>(script_),
                       MakeFakeBook(), &clock_, &recorder_);
    EXPECT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    AdminInterfaceOptions admin;
    admin.listen = "127.0.0.1:0";
    admin.actions.drain = [this] {
      drained_ = true;
      return absl::OkStatus();
    };
    admin.actions.undrain = [] {
      return absl::FailedPreconditionError("too late");
    };
    admin.actions.apply_config =
        [](const std::string& yaml,
           bool dry_run) -> absl::StatusOr<AppliedConfig> {
      if (yaml == "bad") {
        return absl::InvalidArgumentError(std::string(10'000, 'x'));
      }
      AppliedConfig config;
      config.changes = {{"a.b", "1", "2"}, {yaml, "", "x"}};
      config.capacity = "much";
      config.applied = !dry_run;
      return config;
    };
    admin.actions.set_log_level = [](const std::string& level) {
      return "before " + level;
    };
    auto started =
        AdminInterface::Start(std::move(admin), engine_.get(), &recorder_);
    EXPECT_TRUE(started.ok()) << started.status();
    interface_ = *std::move(started);
    stub_ = v1::Admin::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", interface_->port()),
                            grpc::InsecureChannelCredentials()));
    engine_->Start();
  }

  ~AdminTest() override {
    engine_->Drain(absl::InfinitePast());
    interface_.reset();
  }

  std::shared_ptr<model::FakeModel::Script> script_ =
      std::make_shared<model::FakeModel::Script>();
  SystemClock clock_;
  NoObserver nobody_;
  FlightRecorder recorder_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<AdminInterface> interface_;
  std::unique_ptr<v1::Admin::Stub> stub_;
  bool drained_ = false;
};

// Holds every step back until somebody has seen what he wanted to see, but not
// for long, because a view comes between two steps.
class Gate {
 public:
  void Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    opened_.wait_for(lock, std::chrono::milliseconds(50),
                     [this] { return is_open_; });
  }
  void Open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_open_ = true;
    opened_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool is_open_ = false;
};

TEST_F(AdminTest, AViewShowsWhoHoldsWhatOfThePool) {
  Gate gate;
  script_->on_step = [&](const std::string&, std::uint64_t, int scale) {
    if (scale > 0) gate.Wait();
    return absl::OkStatus();
  };
  GenerationRequest request;
  request.request_id = "r7";
  request.tenant = "studio";
  request.prompt = "cat";
  request.book = engine_->schedules();
  request.tier = request.least_tier = 1;
  request.guidance = 3.0;
  for (int i = 0; i < 30; ++i) request.seeds.push_back(i);
  ASSERT_TRUE(engine_->Submit(request, std::make_shared<DeafSink>()).ok());
  v1::PoolView view;
  while (view.used_bytes() == 0) {
    grpc::ClientContext context;
    v1::GetPoolRequest get;
    get.set_per_head(true);
    ASSERT_TRUE(stub_->GetPool(&context, get, &view).ok());
    ASSERT_GT(engine_->Stats().running_requests, 0) << "nobody saw it run";
  }
  gate.Open();
  EXPECT_EQ(view.capacity_bytes(), 1000 * 1024);
  EXPECT_EQ(view.limit_bytes(), view.capacity_bytes());
  EXPECT_EQ(view.effective_limit_bytes(), view.capacity_bytes());
  EXPECT_GE(view.high_water_bytes(), view.used_bytes());
  EXPECT_GE(view.peak_sum_bytes(), view.used_bytes());
  EXPECT_EQ(view.plan_error_bytes(), 0);
  EXPECT_FALSE(view.draining());
  EXPECT_EQ(view.layers(), 2);
  EXPECT_EQ(view.heads(), 2);
  EXPECT_NEAR(view.time().seconds(), absl::ToUnixSeconds(clock_.Now()), 60);
  ASSERT_EQ(view.head_bytes_size(), 4);
  const auto sum = [](const auto& bytes) {
    return std::accumulate(bytes.begin(), bytes.end(), std::uint64_t{0});
  };
  EXPECT_EQ(sum(view.head_bytes()), view.used_bytes());
  std::uint64_t held = 0;
  for (const v1::ImageView& image : view.images()) {
    EXPECT_EQ(image.request_id(), "r7");
    EXPECT_EQ(image.tenant(), "studio");
    EXPECT_EQ(image.tier(), "half");
    EXPECT_EQ(image.scales(), 5);
    EXPECT_EQ(sum(image.head_bytes()), image.held_bytes());
    EXPECT_GE(image.peak_bytes(), image.held_bytes());
    held += image.held_bytes();
  }
  EXPECT_EQ(held, view.used_bytes());
  EXPECT_TRUE(engine_->AwaitIdle(absl::Seconds(30)));
}

TEST_F(AdminTest, ViewsWithoutHeadsAreSmaller) {
  grpc::ClientContext context;
  v1::PoolView view;
  ASSERT_TRUE(stub_->GetPool(&context, {}, &view).ok());
  EXPECT_EQ(view.images_size(), 0);
  EXPECT_EQ(view.used_bytes(), 0);
}

TEST_F(AdminTest, AWatchShowsViewAfterViewUntilItIsCancelled) {
  grpc::ClientContext context;
  v1::WatchPoolRequest request;
  request.mutable_interval()->set_nanos(100'000'000);
  const auto reader = stub_->WatchPool(&context, request);
  v1::PoolView first, second, third;
  ASSERT_TRUE(reader->Read(&first));
  engine_->Drain(absl::InfiniteFuture());
  ASSERT_TRUE(reader->Read(&second));
  ASSERT_TRUE(reader->Read(&third));
  EXPECT_TRUE(third.draining());
  const auto time = [](const v1::PoolView& view) {
    return absl::FromUnixSeconds(view.time().seconds()) +
           absl::Nanoseconds(view.time().nanos());
  };
  EXPECT_GE(time(third) - time(first), absl::Milliseconds(200));
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(AdminTest, AWatchDoesNotHoldTheShutdown) {
  grpc::ClientContext context;
  v1::WatchPoolRequest request;
  request.mutable_interval()->set_seconds(3600);
  const auto reader = stub_->WatchPool(&context, request);
  v1::PoolView view;
  ASSERT_TRUE(reader->Read(&view));
  EXPECT_TRUE(interface_->Shutdown(absl::Now()));
  EXPECT_FALSE(reader->Read(&view));
  EXPECT_FALSE(reader->Finish().ok());
}

TEST_F(AdminTest, AWatchThatIsTooFastIsRefusedWithBothNumbers) {
  grpc::ClientContext context;
  v1::WatchPoolRequest request;
  request.mutable_interval()->set_nanos(1'000'000);
  const auto reader = stub_->WatchPool(&context, request);
  v1::PoolView view;
  EXPECT_FALSE(reader->Read(&view));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("100ms"));
  EXPECT_THAT(status.error_message(), HasSubstr("1ms"));
}

TEST_F(AdminTest, ActionsAndTheirFailuresReachTheOperator) {
  {
    grpc::ClientContext context;
    v1::DrainResponse response;
    EXPECT_TRUE(stub_->Drain(&context, {}, &response).ok());
    EXPECT_TRUE(drained_);
  }
  {
    grpc::ClientContext context;
    v1::UndrainResponse response;
    const grpc::Status status = stub_->Undrain(&context, {}, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    EXPECT_EQ(status.error_message(), "too late");
  }
  {
    grpc::ClientContext context;
    v1::SetLogLevelRequest request;
    request.set_level("error");
    v1::SetLogLevelResponse response;
    EXPECT_TRUE(stub_->SetLogLevel(&context, request, &response).ok());
    EXPECT_EQ(response.before(), "before error");
  }
}

TEST_F(AdminTest, AConfigurationIsAppliedOrConsidered) {
  for (const bool dry_run : {false, true}) {
    grpc::ClientContext context;
    v1::ApplyConfigRequest request;
    request.set_yaml("text");
    request.set_dry_run(dry_run);
    v1::ApplyConfigResponse response;
    ASSERT_TRUE(stub_->ApplyConfig(&context, request, &response).ok());
    ASSERT_EQ(response.changes_size(), 2);
    EXPECT_EQ(response.changes(0).key(), "a.b");
    EXPECT_EQ(response.changes(0).before(), "1");
    EXPECT_EQ(response.changes(0).after(), "2");
    EXPECT_EQ(response.changes(1).key(), "text");
    EXPECT_EQ(response.capacity(), "much");
    EXPECT_EQ(response.applied(), !dry_run);
  }
}

TEST_F(AdminTest, AMessageThatFitsNoHeaderIsCutShort) {
  grpc::ClientContext context;
  v1::ApplyConfigRequest request;
  request.set_yaml("bad");
  v1::ApplyConfigResponse response;
  const grpc::Status status = stub_->ApplyConfig(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("xxx... and 6800 bytes more"));
}

TEST_F(AdminTest, AnEmptyConfigurationIsAMistake) {
  grpc::ClientContext context;
  v1::ApplyConfigResponse response;
  EXPECT_EQ(stub_->ApplyConfig(&context, {}, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(AdminTest, TheLastRequestsAreListedNewestFirst) {
  for (int i = 0; i < 150; ++i) {
    CallRecord call;
    call.rpc = "GenerateImage";
    call.request_id = absl::StrCat("r", i);
    call.peer = "peer";
    call.tenant = "studio";
    call.tier = "half";
    call.status = absl::AbortedError("stalled");
    call.took = absl::Milliseconds(1500);
    call.images_asked = 4;
    call.usage.images = 3;
    call.usage.queue = absl::Milliseconds(250);
    call.usage.peak_cache_bytes = 77;
    recorder_.OnCall(call);
  }
  const auto list = [&](std::uint32_t limit) {
    grpc::ClientContext context;
    v1::ListRequestsRequest request;
    request.set_limit(limit);
    v1::ListRequestsResponse response;
    EXPECT_TRUE(stub_->ListRequests(&context, request, &response).ok());
    return response;
  };
  EXPECT_EQ(list(0).requests_size(), 100);
  EXPECT_EQ(list(4'000'000'000u).requests_size(), 150);
  const v1::ListRequestsResponse two = list(2);
  ASSERT_EQ(two.requests_size(), 2);
  const v1::FinishedRequest& last = two.requests(0);
  EXPECT_EQ(last.request_id(), "r149");
  EXPECT_EQ(two.requests(1).request_id(), "r148");
  EXPECT_EQ(last.rpc(), "GenerateImage");
  EXPECT_EQ(last.peer(), "peer");
  EXPECT_EQ(last.tenant(), "studio");
  EXPECT_EQ(last.tier(), "half");
  EXPECT_EQ(last.status().code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(last.status().message(), "stalled");
  EXPECT_EQ(last.took().seconds(), 1);
  EXPECT_EQ(last.took().nanos(), 500'000'000);
  EXPECT_EQ(last.queued().nanos(), 250'000'000);
  EXPECT_EQ(last.images_asked(), 4);
  EXPECT_EQ(last.images_done(), 3);
  EXPECT_EQ(last.peak_cache_bytes(), 77);
  EXPECT_NEAR(last.end_time().seconds(), absl::ToUnixSeconds(clock_.Now()), 60);
}

TEST_F(AdminTest, AnAddressInUseIsNamed) {
  AdminInterfaceOptions options;
  options.listen = absl::StrCat("127.0.0.1:", interface_->port());
  const auto second = AdminInterface::Start(options, engine_.get(), &recorder_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr(options.listen));
}

}  // namespace
}  // namespace heatkv::server
