// Jobs without a transport: what they leave in their records, also when a disk
// is full.

#include "server/rpc/job_call.h"

#include <filesystem>
#include <future>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/result_folder.h"
#include "tests/server/call_fixture.h"

namespace heatkv::server {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class JobCallTest : public CallFixture {
 protected:
  JobCallTest() : store_(MakeMemoryStore()) {}

  std::shared_ptr<JobRecord> Submit(const std::string& id,
                                    const v1::GenerateImageRequest& request) {
    const auto record =
        std::make_shared<JobRecord>(id, clock_.Now(), absl::Minutes(10));
    const auto call =
        std::make_shared<JobCall>(&services_, store_.get(), record);
    EXPECT_TRUE(call->Judge(request, "peer"));
    record->SetCancel([weak = std::weak_ptr<JobCall>(call)] {
      if (const auto job = weak.lock()) job->CancelRequest();
    });
    EXPECT_TRUE(call->Submit(absl::InfiniteDuration()));
    return record;
  }

  static std::vector<v1::GenerateImageEvent> Events(const JobRecord& record) {
    std::vector<v1::GenerateImageEvent> events;
    std::uint64_t after = 0;
    for (auto found = record.After(0); found.next.has_value();
         found = record.After(after)) {
      events.push_back(found.next->event);
      after = events.back().sequence();
    }
    return events;
  }

  std::unique_ptr<ResultStore> store_;
};

TEST_F(JobCallTest, AJobRunsToItsEndWithNobodyWatching) {
  MakeEngine(1);
  MakeServices();
  v1::GenerateImageRequest request = Ask("cat", 2);
  request.mutable_previews()->set_every_scale(true);
  const auto record = Submit("one", request);
  RunUntilIdle();
  AwaitEncoders();
  ASSERT_TRUE(record->has_ended());
  JobRecord::View view = record->Describe();
  EXPECT_EQ(view.job.state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_GT(view.job.usage().peak_cache_bytes(), 0);
  ASSERT_EQ(view.job.images_size(), 2);
  ASSERT_TRUE(ReadPictures(&view).ok());
  EXPECT_THAT(view.job.images(0).data(), HasSubstr("PNG"));
  const auto events = Events(*record);
  EXPECT_TRUE(events.front().has_accepted());
  EXPECT_TRUE(events.back().has_completed());
  int previews = 0;
  for (const auto& event : events) {
    previews += event.has_preview();
    if (event.has_preview()) {
      EXPECT_EQ(event.preview().scale(), 4);
    }
    if (event.has_image()) {
      EXPECT_EQ(event.image().data(), "");
    }
  }
  EXPECT_EQ(previews, 2) << "the newest of each image";
  ASSERT_EQ(observer_.calls.size(), 1);
  EXPECT_EQ(observer_.calls[0].rpc, "SubmitImage");
}

TEST_F(JobCallTest, PicturesNeverTakeMoreThanWasPromised) {
  MakeEngine(1);
  MakeServices();
  v1::GenerateImageRequest request = Ask("cat", 2);
  request.mutable_previews()->set_every_scale(true);
  request.mutable_previews()->set_format(v1::IMAGE_FORMAT_PNG);
  const auto record = Submit("one", request);
  JobCall judged(&services_, store_.get(), record);
  const auto call = std::make_shared<JobCall>(
      &services_, store_.get(),
      std::make_shared<JobRecord>("x", clock_.Now(), absl::Minutes(1)));
  ASSERT_TRUE(call->Judge(request, "peer"));
  RunUntilIdle();
  AwaitEncoders();
  EXPECT_GT(record->bytes(), 0);
  EXPECT_LE(record->bytes(), call->MostBytes());
}

TEST_F(JobCallTest, ACancelledJobKeepsTheImagesThatAreDone) {
  EngineOptions options;
  options.scheduler.max_running_images = 1;
  MakeEngine(4, options);
  MakeServices();
  const auto record = Submit("one", Ask("cat", 3));
  for (int turn = 0; turn < 7; ++turn) engine_->RunOnce();
  EXPECT_GT(engine_->Stats().used_blocks, 0);
  record->Cancel();
  EXPECT_FALSE(record->has_ended()) << "before the engine's next step";
  RunUntilIdle();
  AwaitEncoders();
  const auto job = record->Describe().job;
  EXPECT_EQ(job.state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(job.images_size(), 1);
  EXPECT_EQ(engine_->Stats().used_blocks, 0);
  record->Cancel();
}

TEST_F(JobCallTest, AFullDiskEndsOneJobAndNoOther) {
  const std::string folder = testing::TempDir() + "/full_disk";
  auto store = OpenResultFolder(
      folder, [](const std::string& path, absl::string_view bytes) {
        if (!absl::StrContains(path, "unlucky-1")) {
          return WriteFileWhole(path, bytes);
        }
        return absl::ResourceExhaustedError(
            absl::StrCat("cannot write ", path, ": No space left on device"));
      });
  ASSERT_TRUE(store.ok()) << store.status();
  store_ = *std::move(store);
  EngineOptions options;
  options.scheduler.max_running_images = 1;
  MakeEngine(4, options);
  MakeServices();
  const auto unlucky = Submit("unlucky", Ask("cat", 9));
  const auto lucky = Submit("lucky", Ask("dog", 2));
  while (engine_->RunOnce()) AwaitEncoders();
  AwaitEncoders();
  RunUntilIdle();
  const auto job = unlucky->Describe().job;
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job.error().code(), 8);
  EXPECT_THAT(job.error().message(),
              AllOf(HasSubstr("heatkv-unlucky-1.result"),
                    HasSubstr("No space left on device")));
  EXPECT_EQ(job.images_size(), 1) << "what was written stays";
  EXPECT_LT(script_->steps.size(), 9 * 5) << "the rest was not made";
  EXPECT_EQ(lucky->Describe().job.state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(lucky->Describe().job.images_size(), 2);
  EXPECT_EQ(engine_->Stats().used_blocks, 0);
  EXPECT_TRUE(engine_->AwaitIdle(absl::ZeroDuration()));
  std::filesystem::remove_all(folder);
}

TEST_F(JobCallTest, TheEngineDoesNotWaitForTheDisk) {
  std::promise<void> release;
  auto store =
      OpenResultFolder(testing::TempDir() + "/slow_disk",
                       [&, released = release.get_future().share()](
                           const std::string& path, absl::string_view bytes) {
                         released.wait();
                         return WriteFileWhole(path, bytes);
                       });
  ASSERT_TRUE(store.ok());
  store_ = *std::move(store);
  MakeEngine(1);
  MakeServices();
  const auto record = Submit("one", Ask("cat", 3));
  RunUntilIdle();  // would never return
  EXPECT_TRUE(engine_->AwaitIdle(absl::ZeroDuration()));
  EXPECT_FALSE(record->has_ended());
  release.set_value();
  AwaitEncoders();
  EXPECT_EQ(record->Describe().job.images_size(), 3);
}

}  // namespace
}  // namespace heatkv::server
