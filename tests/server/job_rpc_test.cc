// Jobs and estimates over a real gRPC connection.

#include <atomic>
#include <future>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "tests/server/rpc_fixture.h"

namespace heatkv::server {
namespace {

using testing::HasSubstr;

class JobRpcTest : public RpcFixture {
 protected:
  grpc::Status Submit(const v1::GenerateImageRequest& request,
                      v1::ImageJob* job, const std::string& key = "") {
    grpc::ClientContext context;
    v1::SubmitImageRequest submit;
    *submit.mutable_request() = request;
    submit.set_idempotency_key(key);
    return stub_->SubmitImage(&context, submit, job);
  }

  std::vector<v1::GenerateImageEvent> Watch(const std::string& id,
                                            std::uint64_t after,
                                            grpc::Status* end) {
    grpc::ClientContext context;
    v1::WatchImageJobRequest request;
    request.set_job_id(id);
    request.set_after_sequence(after);
    const auto reader = stub_->WatchImageJob(&context, request);
    std::vector<v1::GenerateImageEvent> events;
    v1::GenerateImageEvent event;
    while (reader->Read(&event)) events.push_back(event);
    *end = reader->Finish();
    return events;
  }

  grpc::Status Get(const std::string& id, v1::ImageJob* job,
                   bool without_data = false) {
    grpc::ClientContext context;
    v1::GetImageJobRequest request;
    request.set_job_id(id);
    request.set_without_data(without_data);
    return stub_->GetImageJob(&context, request, job);
  }

  grpc::Status Cancel(const std::string& id, v1::ImageJob* job) {
    grpc::ClientContext context;
    v1::CancelImageJobRequest request;
    request.set_job_id(id);
    return stub_->CancelImageJob(&context, request, job);
  }

  // Steps of scale 1 and above wait until Release.
  void HoldSteps() {
    script_->on_step = [this](const std::string&, std::uint64_t, int scale) {
      if (scale > 0) released_.wait();
      return absl::OkStatus();
    };
  }
  void Release() { release_.set_value(); }

  std::promise<void> release_;
  std::shared_future<void> released_ = release_.get_future().share();
};

TEST_F(JobRpcTest, AJobIsWatchedToItsEndAndFetched) {
  Start();
  v1::ImageJob job;
  ASSERT_TRUE(Submit(Request("cat", 2), &job).ok());
  EXPECT_FALSE(job.job_id().empty());
  EXPECT_EQ(job.images_asked(), 2);
  grpc::Status end;
  const auto events = Watch(job.job_id(), 0, &end);
  ASSERT_TRUE(end.ok()) << end.error_message();
  EXPECT_TRUE(events.front().has_accepted());
  EXPECT_TRUE(events.back().has_completed());

  grpc::ClientContext context;
  v1::GenerateImageResponse direct;
  ASSERT_TRUE(stub_->GenerateImage(&context, Request("cat", 2), &direct).ok());
  v1::ImageJob done;
  ASSERT_TRUE(Get(job.job_id(), &done).ok());
  EXPECT_EQ(done.state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(done.tier(), "half");
  EXPECT_TRUE(done.has_expire_time());
  ASSERT_EQ(done.images_size(), 2);
  std::set<std::string> watched, fetched, generated;
  for (const auto& event : events) {
    if (event.has_image()) watched.insert(event.image().data());
  }
  for (int i = 0; i < 2; ++i) {
    fetched.insert(done.images(i).data());
    generated.insert(direct.images(i).data());
  }
  EXPECT_EQ(watched, generated);
  EXPECT_EQ(fetched, generated);
  ASSERT_TRUE(Get(job.job_id(), &done, true).ok());
  EXPECT_EQ(done.images(0).data(), "");
  EXPECT_EQ(done.images(0).sha256().substr(0, 3), "sha");
}

TEST_F(JobRpcTest, WatchersJoinAtAnyTimeAndSeeTheSameEvents) {
  HoldSteps();
  Start();
  v1::ImageJob job;
  ASSERT_TRUE(Submit(Request("cat", 2), &job).ok());
  std::vector<std::vector<v1::GenerateImageEvent>> seen(4);
  std::vector<std::thread> watchers;
  for (auto& events : seen) {
    watchers.emplace_back([&] {
      grpc::Status end;
      events = Watch(job.job_id(), 0, &end);
      EXPECT_TRUE(end.ok()) << end.error_message();
    });
  }
  Release();
  for (std::thread& watcher : watchers) watcher.join();
  grpc::Status end;
  const auto late = Watch(job.job_id(), 0, &end);
  ASSERT_TRUE(end.ok());
  const auto text = [](const std::vector<v1::GenerateImageEvent>& events) {
    std::string all;
    for (const auto& event : events) all += event.SerializeAsString();
    return all;
  };
  for (const auto& events : seen) EXPECT_EQ(text(events), text(late));
  const auto rest = Watch(job.job_id(), late[3].sequence(), &end);
  EXPECT_EQ(text(rest), text({late.begin() + 4, late.end()}));
}

TEST_F(JobRpcTest, ADuplicateWithTheKeyGetsTheSameJob) {
  HoldSteps();
  Start();
  std::vector<v1::ImageJob> jobs(8);
  std::vector<std::thread> clients;
  v1::GenerateImageRequest request = Request("cat");
  for (int i = 0; i < 16; ++i) (*request.mutable_tags())[absl::StrCat(i)] = "v";
  for (auto& job : jobs) {
    clients.emplace_back(
        [&] { EXPECT_TRUE(Submit(request, &job, "once").ok()); });
  }
  for (std::thread& client : clients) client.join();
  for (const auto& job : jobs) EXPECT_EQ(job.job_id(), jobs[0].job_id());
  v1::ImageJob other;
  const grpc::Status refused = Submit(Request("dog"), &other, "once");
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_THAT(refused.error_message(), HasSubstr(jobs[0].job_id()));
  Release();
  EXPECT_TRUE(engine_->AwaitIdle(absl::Seconds(30)));
  EXPECT_EQ(script_->encodings, 1);
}

TEST_F(JobRpcTest, ACancelledJobEndsAndItsWatcherHearsIt) {
  HoldSteps();
  Start();
  v1::ImageJob job;
  ASSERT_TRUE(Submit(Request("cat", 4), &job).ok());
  auto watched = std::async(std::launch::async, [&] {
    grpc::Status end;
    Watch(job.job_id(), 0, &end);
    return end;
  });
  ASSERT_TRUE(Cancel(job.job_id(), &job).ok());
  Release();
  EXPECT_EQ(watched.get().error_code(), grpc::StatusCode::CANCELLED);
  ASSERT_TRUE(Get(job.job_id(), &job).ok());
  EXPECT_EQ(job.state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(job.error().code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(engine_->Stats().used_blocks, 0);
}

TEST_F(JobRpcTest, AWatcherWhoLeavesDoesNotTouchTheJob) {
  HoldSteps();
  Start();
  v1::ImageJob job;
  ASSERT_TRUE(Submit(Request("cat"), &job).ok());
  grpc::ClientContext context;
  v1::WatchImageJobRequest request;
  request.set_job_id(job.job_id());
  const auto reader = stub_->WatchImageJob(&context, request);
  v1::GenerateImageEvent event;
  ASSERT_TRUE(reader->Read(&event));
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  Release();
  grpc::Status end;
  EXPECT_TRUE(Watch(job.job_id(), 0, &end).back().has_completed());
  EXPECT_TRUE(end.ok());
}

TEST_F(JobRpcTest, AWatcherWhoStallsIsCutOffAndTheJobGoesOn) {
  interface_options_.stall_timeout = absl::Milliseconds(50);
  Start();
  v1::ImageJob job;
  ASSERT_TRUE(Submit(Request("cat", 10), &job).ok());
  const auto lazy = NewStub(SmallWindow());
  grpc::ClientContext context;
  v1::WatchImageJobRequest request;
  request.set_job_id(job.job_id());
  const auto reader = lazy->WatchImageJob(&context, request);
  // Reads nothing until the server has given up.
  bool stalled = false;
  for (std::size_t calls = 1; !stalled; ++calls) {
    const auto seen = observer_.AwaitCalls(calls);
    ASSERT_GE(seen.size(), calls) << "no watcher was given up";
    stalled = seen.back().rpc == "WatchImageJob";
    if (stalled) {
      EXPECT_EQ(seen.back().status.code(), absl::StatusCode::kAborted);
    }
  }
  v1::GenerateImageEvent event;
  while (reader->Read(&event)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
  grpc::Status end;
  EXPECT_TRUE(Watch(job.job_id(), 0, &end).back().has_completed());
}

TEST_F(JobRpcTest, RunningJobsFillTheBook) {
  interface_options_.jobs.max_jobs = 1;
  HoldSteps();
  Start();
  v1::ImageJob job, second;
  ASSERT_TRUE(Submit(Request("cat"), &job).ok());
  EXPECT_EQ(Submit(Request("dog"), &second).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  Release();
  grpc::Status end;
  Watch(job.job_id(), 0, &end);
  EXPECT_TRUE(Submit(Request("dog"), &second).ok());
  EXPECT_EQ(Get(job.job_id(), &job).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(JobRpcTest, WhatIsWrongWithAJobIsSaidAtOnce) {
  Start();
  v1::ImageJob job;
  v1::GenerateImageRequest request = Request("");
  const grpc::Status status = Submit(request, &job, "with space");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("idempotency_key"));
  EXPECT_THAT(status.error_message(), HasSubstr("prompt: must not be empty"));
  EXPECT_EQ(Submit(request, &job).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  engine_->Drain(absl::InfiniteFuture());
  EXPECT_EQ(Submit(Request("cat"), &job).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  grpc::Status end;
  Watch("nonsense", 0, &end);
  EXPECT_EQ(end.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(end.error_message(), HasSubstr("nonsense"));
  EXPECT_EQ(Get("nonsense", &job).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Cancel("nonsense", &job).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(JobRpcTest, AnEstimateNamesTheBytesOfEveryScaleAndMakesNothing) {
  Start();
  grpc::ClientContext context;
  v1::EstimateImageRequest request;
  *request.mutable_request() = Request("cat", 3);
  v1::EstimateImageResponse estimate;
  ASSERT_TRUE(stub_->EstimateImage(&context, request, &estimate).ok());
  const auto& trajectory = *MakeFakeBook()->plan(0, 1).guided;
  EXPECT_EQ(estimate.tier(), "half");
  EXPECT_EQ(estimate.schedule_sha256(), "hash of heatkv");
  EXPECT_EQ(estimate.peak_bytes(), trajectory.peak_bytes());
  EXPECT_EQ(estimate.full_cache_bytes(), trajectory.full_cache_bytes());
  ASSERT_EQ(estimate.scales_size(), 5);
  for (int s = 0; s < 5; ++s) {
    EXPECT_EQ(estimate.scales(s).scale(), s + 1);
    EXPECT_EQ(estimate.scales(s).peak_bytes(),
              trajectory.bytes(trajectory.blocks_peak(s)));
    EXPECT_EQ(estimate.scales(s).held_bytes(),
              trajectory.bytes(trajectory.blocks_after(s)));
  }
  EXPECT_EQ(estimate.scales(4).held_bytes(), 0);
  EXPECT_TRUE(estimate.admissible_now()) << estimate.reason();
  EXPECT_TRUE(script_->steps.empty());
  EXPECT_EQ(script_->encodings, 0);
}

TEST_F(JobRpcTest, AnEstimateIsRefusedAsTheRequestWouldBe) {
  engine_options_.pool_blocks =
      MakeFakeBook()->plan(0, 0).guided->peak_blocks() - 1;
  Start();
  v1::EstimateImageRequest request;
  v1::EstimateImageResponse estimate;
  grpc::ClientContext bad_context, large_context;
  *request.mutable_request() = Request("", 99);
  const grpc::Status bad =
      stub_->EstimateImage(&bad_context, request, &estimate);
  EXPECT_EQ(bad.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(bad.error_message(),
              testing::AllOf(HasSubstr("prompt:"), HasSubstr("n:")));
  *request.mutable_request() = Request("cat");
  request.mutable_request()->set_tier("full");
  EXPECT_EQ(
      stub_->EstimateImage(&large_context, request, &estimate).error_code(),
      grpc::StatusCode::FAILED_PRECONDITION);
}

}  // namespace
}  // namespace heatkv::server
