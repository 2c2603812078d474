// An engine over the fake model, driven by hand: no thread, no sleep, a clock
// that the test turns.

#ifndef TESTS_SERVER_ENGINE_FIXTURE_H_
#define TESTS_SERVER_ENGINE_FIXTURE_H_

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_model.h"

namespace heatkv::server {

// Remembers all it is told.
class RecordingSink final : public EventSink {
 public:
  void OnEvent(EngineEvent event) override {
    EXPECT_FALSE(status.has_value()) << "an event after the end";
    events.push_back(std::move(event));
  }
  void OnFinished(const absl::Status& end, const RequestUsage& used) override {
    EXPECT_FALSE(status.has_value()) << "ended twice";
    status = end;
    usage = used;
  }

  template <typename Event>
  std::vector<Event> All() const {
    std::vector<Event> all;
    for (const EngineEvent& event : events) {
      if (const auto* e = std::get_if<Event>(&event)) all.push_back(*e);
    }
    return all;
  }

  // What the test answers for it.
  bool WantsMore() const override { return wants_more; }

  std::atomic<bool> wants_more{true};
  std::vector<EngineEvent> events;
  std::optional<absl::Status> status;
  RequestUsage usage;
};

class RecordingObserver final : public ServerObserver {
 public:
  void OnCall(const CallRecord& call) override { calls.push_back(call); }
  void OnStage(Stage, absl::Duration) override {}
  void OnScale(int, absl::Duration) override { ++scales; }
  void OnImage(const std::string& tier, const absl::Status& status) override {
    images.push_back({tier, status.code()});
  }
  void OnStep(int images_together) override {
    groups.push_back(images_together);
  }
  void OnRelease(EndCause cause, absl::Duration took) override {
    releases.push_back({cause, took});
  }
  void OnRefusal(Refusal refusal) override { refusals.push_back(refusal); }
  void OnLowerTier() override { ++lower_tiers; }
  void OnCharge(const std::string& tenant, double byte_seconds) override {
    charges[tenant] += byte_seconds;
  }
  void OnModelHealth(const absl::Status& status) override {
    health.push_back(status);
  }

  std::vector<CallRecord> calls;
  int scales = 0;
  int lower_tiers = 0;
  std::vector<int> groups;
  std::vector<std::pair<EndCause, absl::Duration>> releases;
  std::vector<Refusal> refusals;
  std::map<std::string, double> charges;
  std::vector<absl::Status> health;
  std::vector<std::pair<std::string, absl::StatusCode>> images;
};

class EngineFixture : public testing::Test {
 protected:
  // Makes engine_ over a pool that holds `images` images of the full tier under
  // guidance, unless the options set the pool.
  void MakeEngine(int images, EngineOptions options = {});

  // A request of the standard knobs; the seeds are first, first + 1, ...
  static GenerationRequest Request(const std::string& prompt,
                                   std::uint64_t first = 1, int images = 1,
                                   int tier = 0);

  // Submits and expects it to be taken.
  std::shared_ptr<RecordingSink> Submit(GenerationRequest request);

  void RunUntilIdle() {
    while (engine_->RunOnce()) {
    }
  }

  // The picture of prompt and seed, made by an engine of its own.
  static model::RgbImage Alone(const GenerationRequest& request);

  std::shared_ptr<model::FakeModel::Script> script_ =
      std::make_shared<model::FakeModel::Script>();
  FakeClock clock_;
  RecordingObserver observer_;
  std::unique_ptr<Engine> engine_;
  std::uint64_t last_number_ = 0;
};

// Two tiers over the fake model: 0 "full" and 1 "half".  Always the same one.
std::shared_ptr<const ScheduleBook> MakeFakeBook();

}  // namespace heatkv::server

#endif  // TESTS_SERVER_ENGINE_FIXTURE_H_
