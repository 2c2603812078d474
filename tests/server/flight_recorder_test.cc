#include "server/engine/flight_recorder.h"

#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"
#include "tests/server/engine_fixture.h"

namespace heatkv::server {
namespace {

CallRecord Call(int number) {
  CallRecord call;
  call.request_id = std::to_string(number);
  return call;
}

std::vector<std::string> Ids(const std::vector<EndedCall>& calls) {
  std::vector<std::string> ids;
  for (const EndedCall& call : calls) ids.push_back(call.call.request_id);
  return ids;
}

TEST(FlightRecorderTest, KeepsTheLastCallsNewestFirst) {
  FakeClock clock;
  RecordingObserver next;
  FlightRecorder recorder(3, &clock, &next);
  EXPECT_TRUE(recorder.Last(10).empty());
  for (int i = 0; i < 5; ++i) {
    clock.Advance(absl::Seconds(1));
    recorder.OnCall(Call(i));
  }
  EXPECT_EQ(Ids(recorder.Last(10)), (std::vector<std::string>{"4", "3", "2"}));
  EXPECT_EQ(Ids(recorder.Last(2)), (std::vector<std::string>{"4", "3"}));
  EXPECT_EQ(recorder.Last(1)[0].end, clock.Now());
  EXPECT_EQ(recorder.Last(2)[1].end, clock.Now() - absl::Seconds(1));
}

TEST(FlightRecorderTest, PassesEverythingOn) {
  class Everything final : public ServerObserver {
   public:
    void OnCall(const CallRecord&) override { seen += "call "; }
    void OnStage(Stage, absl::Duration) override { seen += "stage "; }
    void OnScale(int, absl::Duration) override { seen += "scale "; }
    void OnImage(const std::string&, const absl::Status&) override {
      seen += "image ";
    }
    void OnStep(int) override { seen += "step "; }
    void OnFirstPicture(absl::Duration) override { seen += "picture "; }
    void OnRelease(EndCause, absl::Duration) override { seen += "release "; }
    void OnRefusal(Refusal) override { seen += "refusal "; }
    void OnLowerTier() override { seen += "tier "; }
    void OnCharge(const std::string&, double) override { seen += "charge "; }
    void OnModelHealth(const absl::Status&) override { seen += "health"; }
    std::string seen;
  };
  FakeClock clock;
  Everything next;
  FlightRecorder recorder(1, &clock, &next);
  recorder.OnCall(Call(0));
  recorder.OnStage(Stage::kText, absl::Seconds(1));
  recorder.OnScale(0, absl::Seconds(1));
  recorder.OnImage("full", absl::OkStatus());
  recorder.OnStep(4);
  recorder.OnFirstPicture(absl::Seconds(1));
  recorder.OnRelease(EndCause::kClient, absl::Seconds(1));
  recorder.OnRefusal(Refusal::kDeadline);
  recorder.OnLowerTier();
  recorder.OnCharge("a", 1.0);
  recorder.OnModelHealth(absl::InternalError("gone"));
  EXPECT_EQ(next.seen,
            "call stage scale image step picture release refusal tier charge "
            "health");
}

TEST(FlightRecorderTest, TakesCallsFromManyThreads) {
  class Nobody final : public ServerObserver {
    void OnCall(const CallRecord&) override {}
    void OnStage(Stage, absl::Duration) override {}
    void OnScale(int, absl::Duration) override {}
    void OnImage(const std::string&, const absl::Status&) override {}
  };
  FakeClock clock;
  Nobody next;
  FlightRecorder recorder(50, &clock, &next);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        recorder.OnCall(Call(i));
        EXPECT_LE(recorder.Last(1000).size(), 50);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(recorder.Last(1000).size(), 50);
}

}  // namespace
}  // namespace heatkv::server
