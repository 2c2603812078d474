#include "server/rpc/job_book.h"

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/retry_hint.h"
#include "tests/fakes/fake_clock.h"

namespace heatkv::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class JobBookTest : public testing::Test {
 protected:
  static JobOptions Options(int max_jobs, std::int64_t max_bytes = 1000) {
    JobOptions options;
    options.max_jobs = max_jobs;
    options.max_bytes = max_bytes;
    options.ttl = absl::Minutes(10);
    return options;
  }

  NewJob Job(const std::string& id, const std::string& key = "",
             std::int64_t bytes = 0) {
    NewJob job;
    job.record =
        std::make_shared<JobRecord>(id, clock_.Now(), absl::Minutes(10));
    job.idempotency_key = key;
    job.fingerprint = "request";
    job.most_bytes = bytes;
    return job;
  }

  std::shared_ptr<JobRecord> Enter(JobBook* book, const NewJob& job) {
    const auto entered = book->Enter(job, [] { return true; });
    EXPECT_TRUE(entered.ok()) << entered.status();
    return entered.ok() ? *entered : nullptr;
  }

  void End(const std::shared_ptr<JobRecord>& job) {
    job->End(grpc::Status::OK, v1::Usage(), clock_.Now());
  }

  FakeClock clock_;
};

v1::GenerateImageEvent ImageEventOf(std::uint64_t sequence, int index) {
  v1::GenerateImageEvent event;
  event.set_sequence(sequence);
  event.mutable_image()->set_index(index);
  return event;
}

std::shared_ptr<const StoredResult> Stored(int bytes) {
  return *MakeMemoryStore()->Put("x", std::string(bytes, 'x'));
}

TEST_F(JobBookTest, TheSameKeyAndRequestAreTheSameJob) {
  JobBook book(Options(4), &clock_);
  const NewJob first = Job("one", "key");
  EXPECT_EQ(Enter(&book, first), first.record);
  EXPECT_EQ(Enter(&book, Job("two", "key")), first.record);
  EXPECT_NE(Enter(&book, Job("three", "other")), first.record);
  EXPECT_NE(Enter(&book, Job("four")), first.record);
  EXPECT_EQ(book.Find("one"), first.record);
  EXPECT_EQ(book.Find("two"), nullptr);
}

TEST_F(JobBookTest, AKeyThatWasUsedForAnotherRequestIsRefused) {
  JobBook book(Options(4), &clock_);
  Enter(&book, Job("one", "key"));
  NewJob other = Job("two", "key");
  other.fingerprint = "another request";
  const auto entered = book.Enter(other, [] {
    ADD_FAILURE() << "begun";
    return true;
  });
  EXPECT_EQ(entered.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(entered.status().message()), HasSubstr("job one"));
}

TEST_F(JobBookTest, KeysOfDifferentTenantsAreDifferentKeys) {
  JobBook book(Options(4), &clock_);
  NewJob theirs = Job("one", "key");
  theirs.tenant = "a";
  NewJob ours = Job("two", "key");
  ours.tenant = "b";
  EXPECT_EQ(Enter(&book, theirs), theirs.record);
  EXPECT_EQ(Enter(&book, ours), ours.record);
}

TEST_F(JobBookTest, ConcurrentDuplicatesMakeOneJob) {
  JobBook book(Options(100), &clock_);
  std::atomic<int> begun = 0;
  std::vector<std::shared_ptr<JobRecord>> entered(16);
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&, i] {
      entered[i] = *book.Enter(Job(absl::StrCat(i), "key"), [&] {
        ++begun;
        return true;
      });
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(begun, 1);
  const std::set<std::shared_ptr<JobRecord>> different(entered.begin(),
                                                       entered.end());
  EXPECT_EQ(different.size(), 1);
}

TEST_F(JobBookTest, AJobThatDoesNotBeginLeavesNothingBehind) {
  JobBook book(Options(1), &clock_);
  const auto entered = book.Enter(Job("one", "key"), [] { return false; });
  ASSERT_TRUE(entered.ok());
  EXPECT_EQ(*entered, nullptr);
  EXPECT_EQ(book.size(), 0);
  EXPECT_NE(Enter(&book, Job("two", "key")), nullptr);
}

TEST_F(JobBookTest, AJobThatDoesNotBeginDrivesNobodyOut) {
  JobBook book(Options(2), &clock_);
  End(Enter(&book, Job("one")));
  Enter(&book, Job("runs", "", 600));
  ASSERT_TRUE(book.Enter(Job("two"), [] { return false; }).ok());
  EXPECT_NE(book.Find("one"), nullptr);
  // Nor does one for which there is no room even then.
  EXPECT_EQ(
      book.Enter(Job("three", "", 500), [] { return true; }).status().code(),
      absl::StatusCode::kResourceExhausted);
  EXPECT_NE(book.Find("one"), nullptr);
  Enter(&book, Job("four"));
  EXPECT_EQ(book.Find("one"), nullptr);
}

TEST_F(JobBookTest, EndedJobsMakeRoomTheOldestEndFirst) {
  JobBook book(Options(3), &clock_);
  const auto one = Enter(&book, Job("one"));
  const auto two = Enter(&book, Job("two"));
  Enter(&book, Job("runs"));
  End(two);
  clock_.Advance(absl::Seconds(1));
  End(one);
  Enter(&book, Job("four"));
  EXPECT_EQ(book.Find("two"), nullptr);
  EXPECT_NE(book.Find("one"), nullptr);
  Enter(&book, Job("five"));
  EXPECT_EQ(book.Find("one"), nullptr);
  EXPECT_NE(book.Find("runs"), nullptr);
}

TEST_F(JobBookTest, JobsThatRunAreNeverForgottenAndFillTheBook) {
  JobBook book(Options(2), &clock_);
  Enter(&book, Job("one"));
  Enter(&book, Job("two"));
  const auto third = book.Enter(Job("three"), [] {
    ADD_FAILURE() << "begun";
    return true;
  });
  EXPECT_EQ(third.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(RetryHint(third.status()).has_value());
  EXPECT_THAT(std::string(third.status().message()),
              HasSubstr("2 jobs run, of at most 2"));
  clock_.Advance(absl::Hours(1000));
  EXPECT_NE(book.Find("one"), nullptr);
}

TEST_F(JobBookTest, AnEndedJobIsForgottenWhenItsTimeIsOver) {
  JobBook book(Options(2), &clock_);
  const auto job = Enter(&book, Job("one", "key"));
  clock_.Advance(absl::Hours(1));
  End(job);
  clock_.Advance(absl::Minutes(10) - absl::Nanoseconds(1));
  EXPECT_EQ(book.Find("one"), job);
  clock_.Advance(absl::Nanoseconds(1));
  book.ForgetExpired();
  EXPECT_EQ(book.size(), 0);
  EXPECT_NE(Enter(&book, Job("again", "key")), job) << "its key is free again";
}

TEST_F(JobBookTest, BytesArePromisedWhileAJobRunsAndCountedWhenItHasEnded) {
  JobBook book(Options(10, 1000), &clock_);
  const auto one = Enter(&book, Job("one", "", 600));
  EXPECT_EQ(book.bytes(), 600);
  const auto refused = book.Enter(Job("two", "", 500), [] { return true; });
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("600 bytes of at most 1000; this one may take 500"));
  one->Append(ImageEventOf(1, 0), Stored(100));
  End(one);
  EXPECT_EQ(book.bytes(), 100);
  Enter(&book, Job("two", "", 900));
  EXPECT_NE(book.Find("one"), nullptr);
  Enter(&book, Job("three", "", 100));
  EXPECT_EQ(book.Find("one"), nullptr) << "its bytes were needed";
  EXPECT_EQ(book.bytes(), 1000);
}

TEST_F(JobBookTest, AJobOfMoreBytesThanAreKeptIsRefusedWithBothNumbers) {
  JobBook book(Options(10, 1000), &clock_);
  const auto entered = book.Enter(Job("one", "", 1001), [] { return true; });
  EXPECT_EQ(entered.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(entered.status().message()),
              testing::AllOf(HasSubstr("1001"), HasSubstr("1000")));
}

TEST(JobRecordTest, EventsAreFoundByTheNumberBeforeThem) {
  JobRecord record("id", absl::UnixEpoch(), absl::Minutes(1));
  EXPECT_FALSE(record.After(0).next.has_value());
  EXPECT_FALSE(record.After(0).end.has_value());
  record.Append(ImageEventOf(3, 0), Stored(1));
  record.Append(ImageEventOf(5, 1), Stored(1));
  EXPECT_EQ(record.After(0).next->event.sequence(), 3);
  EXPECT_EQ(record.After(3).next->event.sequence(), 5);
  EXPECT_EQ(record.After(4).next->event.sequence(), 5);
  record.End(grpc::Status(grpc::StatusCode::INTERNAL, "why"), {},
             absl::UnixEpoch());
  EXPECT_FALSE(record.After(4).end.has_value()) << "there is an event before";
  EXPECT_EQ(record.After(5).end->error_message(), "why");
}

TEST(JobRecordTest, KeepsTheNewestPreviewOfEachImageAndTheNewestPosition) {
  JobRecord record("id", absl::UnixEpoch(), absl::Minutes(1));
  std::uint64_t sequence = 0;
  for (int round = 0; round < 100; ++round) {
    for (int image = 0; image < 2; ++image) {
      v1::GenerateImageEvent preview;
      preview.set_sequence(++sequence);
      preview.mutable_preview()->set_image_index(image);
      preview.mutable_preview()->set_data(std::string(10, 'x'));
      record.Append(preview, nullptr);
    }
    v1::GenerateImageEvent queued;
    queued.set_sequence(++sequence);
    queued.mutable_queued()->set_position(round);
    record.Append(queued, nullptr);
  }
  EXPECT_EQ(record.bytes(), 20);
  std::vector<std::uint64_t> left;
  for (auto found = record.After(0); found.next.has_value();
       found = record.After(left.back())) {
    left.push_back(found.next->event.sequence());
  }
  EXPECT_THAT(left, ElementsAre(298, 299, 300));
}

class CountingReader final : public JobReader {
 public:
  void OnJobChanged() override { ++woken; }
  int woken = 0;
};

TEST(JobRecordTest, EveryReaderThatIsStillThereIsWoken) {
  JobRecord record("id", absl::UnixEpoch(), absl::Minutes(1));
  const auto stays = std::make_shared<CountingReader>();
  auto goes = std::make_shared<CountingReader>();
  record.AddReader(stays);
  record.AddReader(goes);
  record.Append(ImageEventOf(1, 0), Stored(1));
  EXPECT_EQ(goes->woken, 1);
  goes.reset();
  record.End(grpc::Status::OK, {}, absl::UnixEpoch());
  EXPECT_EQ(stays->woken, 2);
}

TEST(JobRecordTest, TellsItsStateFromBeginningToEnd) {
  JobRecord record("id", absl::FromUnixSeconds(5), absl::Minutes(1));
  record.SetRequest("r", "full", 2);
  EXPECT_EQ(record.Describe().job.state(), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(record.Describe().job.tier(), "full");
  v1::GenerateImageEvent started;
  started.set_sequence(1);
  started.mutable_started()->set_tier("half");
  record.Append(started, nullptr);
  EXPECT_EQ(record.Describe().job.state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(record.Describe().job.tier(), "half");
  record.Append(ImageEventOf(2, 0), Stored(7));
  record.End(grpc::Status(grpc::StatusCode::CANCELLED, "enough"), {},
             absl::FromUnixSeconds(9));
  JobRecord::View view = record.Describe();
  EXPECT_EQ(view.job.state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(view.job.error().code(), 1);
  EXPECT_EQ(view.job.error().message(), "enough");
  EXPECT_EQ(view.job.create_time().seconds(), 5);
  EXPECT_EQ(view.job.expire_time().seconds(), 69);
  EXPECT_EQ(view.job.images_asked(), 2);
  ASSERT_EQ(view.job.images_size(), 1);
  EXPECT_EQ(view.job.images(0).data(), "");
  ASSERT_TRUE(ReadPictures(&view).ok());
  EXPECT_EQ(view.job.images(0).data(), "xxxxxxx");
}

}  // namespace
}  // namespace heatkv::server
