// Laws of a scheduler with several devices over random traces: where images
// start, in which order, and that everybody ends.  The devices' turns overlap
// at random, as those of threads do.

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cache/safe_state.h"
#include "gtest/gtest.h"
#include "server/engine/scheduler.h"
#include "tests/cache/random_case.h"
#include "tests/server/simulated_device.h"

namespace heatkv::server {
namespace {

using cache::Dice;

const SimulatedDevice& Model() {
  static const SimulatedDevice* const model = new SimulatedDevice;
  return *model;
}

int Capacity(int ladder, int scale, int branches) {
  return model::GroupCapacity(Model().spec(), ladder, scale, branches);
}

std::int64_t LargestPeak() {
  return Model().Choice(0, 0).trajectory->peak_blocks();
}

// Devices that execute turns, expecting of the scheduler what it promises.
class Fleet {
 public:
  Fleet(const SchedulerOptions& options, int devices)
      : scheduler_(options, Capacity, devices),
        turns_(devices),
        is_well_(devices, true) {}

  Scheduler& scheduler() { return scheduler_; }
  int devices() const { return scheduler_.devices(); }
  bool IsInTurn(int device) const { return turns_[device].has_value(); }
  const std::set<std::uint64_t>& alive() const { return alive_; }
  int finished() const { return finished_; }
  int started_elsewhere() const { return started_elsewhere_; }
  const std::vector<int>& started_on() const { return started_on_; }

  void Enqueue(ScheduledRequest request) {
    alive_.insert(request.number);
    images_left_[request.number] = request.images;
    started_on_.resize(devices());
    scheduler_.Enqueue(std::move(request));
  }

  void SetWell(int device, bool is_well) {
    is_well_[device] = is_well;
    scheduler_.SetWell(device, is_well);
  }

  // As an engine does it: each device takes the request out when it looks.
  void Cancel(std::uint64_t number) {
    cancelled_[number] = std::vector<bool>(devices(), false);
    for (int d = 0; d < devices(); ++d) {
      if (!IsInTurn(d)) EndCancelled(d);
    }
  }

  // Ends the turn of a device, or asks for one.  False if there was none.
  bool Advance(int device, absl::Time now) {
    if (IsInTurn(device)) {
      for (const ImageRef& ref : turns_[device]->group) Report(device, ref);
      turns_[device].reset();
      EndCancelled(device);
      return true;
    }
    const Picture before = Look();
    std::vector<std::uint64_t> order;
    for (const QueuedRequest* waiting : scheduler_.queue().InOrder(now)) {
      order.push_back(waiting->number);
    }
    turns_[device] = scheduler_.Next(now, device);
    ExpectStarts(device, before, order);
    if (!turns_[device].has_value()) {
      EXPECT_TRUE(Look().flight[device].empty());
      return false;
    }
    ExpectTurn(device);
    return true;
  }

 private:
  struct Picture {
    std::vector<std::map<ImageRef, cache::ImageProgress>> flight;
    std::vector<std::int64_t> free;
  };

  Picture Look() const {
    Picture picture;
    picture.flight.resize(devices());
    for (const Scheduler::Flight& f : scheduler_.InFlight()) {
      picture.flight[f.device][f.image] = f.progress;
    }
    std::int64_t sum = 0;
    for (int d = 0; d < devices(); ++d) {
      std::int64_t peaks = 0;
      for (const auto& [ref, progress] : picture.flight[d]) {
        peaks += progress.peak_blocks();
      }
      picture.free.push_back(scheduler_.options().limit_blocks - peaks);
      EXPECT_EQ(picture.free[d], scheduler_.FreeBlocks(d));
      sum += peaks;
    }
    EXPECT_EQ(scheduler_.peak_sum_blocks(), sum);
    return picture;
  }

  bool TakesImages(int device) const {
    return is_well_[device] ||
           std::count(is_well_.begin(), is_well_.end(), true) == 0;
  }

  // Whether an image could start on a device once its turn is over.
  bool CouldHold(int device, const Picture& picture,
                 const cache::Trajectory& trajectory) const {
    std::vector<cache::ImageProgress> then;
    for (const auto& [ref, progress] : picture.flight[device]) {
      cache::ImageProgress next = progress;
      if (IsInTurn(device)) {
        const auto& group = turns_[device]->group;
        next.next_scale +=
            std::count(group.begin(), group.end(), ref) > 0 ? 1 : 0;
      }
      if (next.next_scale <
          next.trajectory->schedule()->ladder().num_scales()) {
        then.push_back(next);
      }
    }
    then.push_back({&trajectory, 0});
    const int index = static_cast<int>(then.size()) - 1;
    return cache::MayStep(scheduler_.options().limit_blocks, then, {&index, 1});
  }

  // Whoever was in flight is where it was; whoever started was next in the
  // queue, and on the device with the most free blocks.
  void ExpectStarts(int asker, const Picture& before,
                    const std::vector<std::uint64_t>& order) {
    const Picture after = Look();
    std::map<std::uint64_t, std::vector<std::pair<int, ImageRef>>> started;
    std::size_t count = 0;
    for (int d = 0; d < devices(); ++d) {
      for (const auto& [ref, progress] : before.flight[d]) {
        EXPECT_TRUE(after.flight[d].contains(ref));
      }
      for (const auto& [ref, progress] : after.flight[d]) {
        if (before.flight[d].contains(ref)) continue;
        started[ref.request].push_back({d, ref});
        EXPECT_EQ(progress.next_scale, 0);
        EXPECT_TRUE(where_.emplace(ref, d).second) << "started twice";
        EXPECT_TRUE(TakesImages(d)) << "device " << d << " is unwell";
        EXPECT_TRUE(d == asker || !IsInTurn(d));
        started_elsewhere_ += d != asker;
        ++started_on_[d];
        ++count;
      }
    }
    // Of one image each, so the order of requests is that of images.
    Picture now = before;
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_LT(i, order.size());
      ASSERT_TRUE(started.contains(order[i])) << "overtaken";
      const auto& [device, ref] = started[order[i]].front();
      ExpectBestPlace(device, ref, after.flight[device].at(ref), now);
      now.flight[device][ref] = after.flight[device].at(ref);
      now.free[device] -= after.flight[device].at(ref).peak_blocks();
    }
  }

  void ExpectBestPlace(int device, const ImageRef& ref,
                       const cache::ImageProgress& image,
                       const Picture& picture) {
    const SchedulerOptions& options = scheduler_.options();
    for (int other = 0; other < devices(); ++other) {
      if (picture.free[other] <= picture.free[device] || !TakesImages(other) ||
          static_cast<int>(picture.flight[other].size()) >=
              options.max_running_images) {
        continue;
      }
      // Under the latency policy only a device with nothing in flight takes
      // images of the one class that there is.
      if (options.policy == SchedulingPolicy::kLatency &&
          !picture.flight[other].empty()) {
        continue;
      }
      EXPECT_FALSE(CouldHold(other, picture, *image.trajectory))
          << "request " << ref.request << " started on device " << device
          << " with " << picture.free[device] << " free blocks, but device "
          << other << " has " << picture.free[other];
    }
  }

  void ExpectTurn(int device) {
    const Turn& turn = *turns_[device];
    EXPECT_LE(static_cast<int>(turn.group.size()),
              Capacity(turn.ladder, turn.scale, turn.branches));
    const Picture picture = Look();
    std::int64_t used = 0;
    for (const auto& [ref, progress] : picture.flight[device]) {
      used += progress.blocks_held();
    }
    for (const ImageRef& ref : turn.group) {
      ASSERT_TRUE(picture.flight[device].contains(ref));
      const cache::ImageProgress& progress = picture.flight[device].at(ref);
      EXPECT_EQ(progress.next_scale, turn.scale);
      used +=
          progress.trajectory->blocks_peak(turn.scale) - progress.blocks_held();
    }
    EXPECT_LE(used, scheduler_.EffectiveLimit(device));
  }

  void Report(int device, const ImageRef& ref) {
    scheduler_.StepDone(ref);
    if (Look().flight[device].contains(ref)) return;
    if (--images_left_.at(ref.request) > 0) return;
    if (cancelled_.contains(ref.request)) return;
    ++finished_;
    alive_.erase(ref.request);
    EXPECT_FALSE(scheduler_.Has(ref.request));
  }

  void EndCancelled(int device) {
    for (auto& [number, ended] : cancelled_) {
      if (ended[device]) continue;
      ended[device] = true;
      scheduler_.RemoveRequestFrom(number, device);
      const Picture picture = Look();
      for (const auto& [ref, progress] : picture.flight[device]) {
        EXPECT_NE(ref.request, number);
      }
      if (std::count(ended.begin(), ended.end(), false) > 0) continue;
      EXPECT_FALSE(scheduler_.Has(number));
      alive_.erase(number);
    }
    std::erase_if(cancelled_, [](const auto& c) {
      return std::count(c.second.begin(), c.second.end(), false) == 0;
    });
  }

  Scheduler scheduler_;
  std::vector<std::optional<Turn>> turns_;  // under way
  std::vector<bool> is_well_;
  std::set<std::uint64_t> alive_;
  std::map<std::uint64_t, int> images_left_;
  std::map<std::uint64_t, std::vector<bool>> cancelled_;
  std::map<ImageRef, int> where_;
  std::vector<int> started_on_;
  int started_elsewhere_ = 0;
  int finished_ = 0;
};

struct Sums {
  int finished = 0;
  int cancelled = 0;
  int started_elsewhere = 0;
};

void RunTrace(int seed, int requests, Sums* sums) {
  Dice dice(seed);
  SchedulerOptions options;
  const std::int64_t most = LargestPeak() * dice.Int(10, 40) / 10;
  options.limit_blocks = most;
  options.max_running_images = dice.Int(2, 16);
  options.policy =
      seed % 2 == 0 ? SchedulingPolicy::kLatency : SchedulingPolicy::kPreview;
  options.queue.aging = absl::Hours(1000);
  const int devices = dice.Int(2, 4);
  Fleet fleet(options, devices);
  const bool breaks = seed % 3 == 0;
  const int seldom = dice.Int(3, 40);  // that somebody arrives
  absl::Time now = absl::FromUnixSeconds(1000);
  int enqueued = 0;
  int cancelled = 0;
  std::int64_t advances = 0;
  std::set<std::uint64_t> gone;
  while (enqueued < requests || !fleet.alive().empty()) {
    now += absl::Milliseconds(dice.Int(0, 20));
    if (enqueued < requests && dice.Int(0, seldom) == 0) {
      for (int n = dice.Int(1, 6); n > 0 && enqueued < requests; --n) {
        ScheduledRequest request;
        request.number = static_cast<std::uint64_t>(++enqueued);
        request.ladder = dice.Int(0, 1);
        request.tenant = absl::StrCat("tenant ", dice.Int(0, 2));
        request.arrived = now;
        request.image_byte_seconds = dice.Int(1, 5);
        const int branches = dice.Int(1, 2);
        for (int tier = dice.Int(0, 2); tier < 3; ++tier) {
          request.choices.push_back(
              Model().Choice(request.ladder, tier, branches));
          if (dice.Int(0, 1) == 0 &&
              request.choices.back().trajectory->peak_blocks() <=
                  LargestPeak()) {
            break;
          }
        }
        fleet.Enqueue(std::move(request));
      }
    }
    if (!fleet.alive().empty() && dice.Int(0, 40) == 0) {
      const std::uint64_t number = *fleet.alive().begin();
      if (gone.insert(number).second) {
        fleet.Cancel(number);
        ++cancelled;
      }
    }
    if (breaks && dice.Int(0, 50) == 0) {
      fleet.SetWell(dice.Int(0, devices - 1), dice.Int(0, 1) == 0);
    }
    if (dice.Int(0, 100) == 0) {
      options.limit_blocks =
          LargestPeak() + dice.Int(0, static_cast<int>(most - LargestPeak()));
      fleet.scheduler().SetOptions(options);
    }
    fleet.Advance(dice.Int(0, devices - 1), now);
    ASSERT_LT(++advances, 100000) << "somebody waits for ever";
    ASSERT_FALSE(testing::Test::HasFailure()) << "advance " << advances;
  }
  EXPECT_TRUE(fleet.scheduler().queue().empty());
  EXPECT_EQ(fleet.scheduler().running_images(), 0);
  EXPECT_EQ(fleet.scheduler().blocks_held(), 0);
  EXPECT_EQ(fleet.finished() + cancelled, requests);
  sums->finished += fleet.finished();
  sums->cancelled += cancelled;
  sums->started_elsewhere += fleet.started_elsewhere();
}

TEST(SeveralDevicesLawTest, ImagesGoToTheDeviceWithTheMostFreeBlocks) {
  Sums sums;
  for (int seed = 0; seed < 120; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RunTrace(seed, 80, &sums);
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(sums.finished, 7000);
  EXPECT_GT(sums.cancelled, 100);
  EXPECT_GT(sums.started_elsewhere, 150);
}

class SeveralDevicesTest : public testing::Test {
 protected:
  void Make(int devices, SchedulingPolicy policy, int peaks = 8) {
    SchedulerOptions options;
    options.limit_blocks = peaks * LargestPeak();
    options.policy = policy;
    scheduler_ = std::make_unique<Scheduler>(
        options, [](int, int scale, int) { return scale < 3 ? 4 : 1; },
        devices);
  }

  std::uint64_t Enqueue(int images = 1) {
    ScheduledRequest request;
    request.number = next_++;
    request.images = images;
    request.arrived = now_;
    request.choices = {Model().Choice(0, 0)};
    const std::uint64_t number = request.number;
    scheduler_->Enqueue(std::move(request));
    return number;
  }

  // "1.0 3.0 @0": the images of a device's next turn and its scale.
  std::string Begin(int device) {
    const auto turn = scheduler_->Next(now_, device);
    if (!turn.has_value()) return "nothing";
    std::string text;
    turns_[device] = *turn;
    for (const ImageRef& ref : turn->group) {
      absl::StrAppend(&text, ref.request, ".", ref.image, " ");
    }
    return absl::StrCat(text, "@", turn->scale);
  }
  void End(int device) {
    for (const ImageRef& ref : turns_[device].group) scheduler_->StepDone(ref);
    turns_[device].group.clear();
  }

  std::unique_ptr<Scheduler> scheduler_;
  std::map<int, Turn> turns_;
  absl::Time now_ = absl::FromUnixSeconds(1000);
  std::uint64_t next_ = 1;
};

TEST_F(SeveralDevicesTest, WhoeverAsksFirstIdleDevicesShareWhatWaits) {
  for (const auto policy :
       {SchedulingPolicy::kLatency, SchedulingPolicy::kPreview}) {
    Make(2, policy);
    next_ = 1;
    for (int i = 0; i < 6; ++i) Enqueue();
    EXPECT_EQ(Begin(1), "1.0 3.0 5.0 @0");
    EXPECT_EQ(Begin(0), "2.0 4.0 6.0 @0");
  }
}

TEST_F(SeveralDevicesTest, ImagesOfOneRequestMayBeOnSeveralDevices) {
  Make(2, SchedulingPolicy::kLatency);
  Enqueue(4);
  EXPECT_EQ(Begin(0), "1.0 1.2 @0");
  EXPECT_EQ(Begin(1), "1.1 1.3 @0");
  scheduler_->RemoveRequestFrom(1, 0);
  EXPECT_TRUE(scheduler_->Has(1)) << "the other device has not looked";
  EXPECT_EQ(scheduler_->running_images(), 2);
  scheduler_->RemoveRequestFrom(1, 1);
  EXPECT_FALSE(scheduler_->Has(1));
}

TEST_F(SeveralDevicesTest, UnderLatencyADeviceLeavesTheOthersTheirShare) {
  Make(2, SchedulingPolicy::kLatency);
  Enqueue();
  EXPECT_EQ(Begin(0), "1.0 @0");
  for (int i = 0; i < 4; ++i) Enqueue();
  EXPECT_EQ(Begin(1), "2.0 3.0 @0") << "half of the four, although it could "
                                       "take all, and the other is busy";
}

TEST_F(SeveralDevicesTest, UnderPreviewAnImageWaitsForTheDeviceWithMoreFree) {
  Make(2, SchedulingPolicy::kPreview);
  Enqueue(3);
  EXPECT_EQ(Begin(0), "1.0 1.2 @0");
  EXPECT_EQ(Begin(1), "1.1 @0");
  ASSERT_GT(scheduler_->FreeBlocks(1), scheduler_->FreeBlocks(0));
  Enqueue();
  End(0);
  EXPECT_EQ(Begin(0), "1.0 1.2 @1") << "goes on with what it has";
  End(1);
  EXPECT_EQ(Begin(1), "2.0 @0");
}

TEST_F(SeveralDevicesTest, AnUnwellDeviceStartsNothingWhileAnotherIsWell) {
  Make(2, SchedulingPolicy::kLatency);
  Enqueue();
  EXPECT_EQ(Begin(0), "1.0 @0");
  End(0);
  scheduler_->SetWell(0, false);
  Enqueue(2);
  EXPECT_EQ(Begin(0), "1.0 @1") << "what is in flight goes on";
  EXPECT_EQ(Begin(1), "2.0 2.1 @0") << "its share is all";
  scheduler_->SetWell(1, false);
  Enqueue();
  End(0);
  scheduler_->RemoveRequest(1);
  EXPECT_EQ(Begin(0), "3.0 @0") << "none is well: nobody waits for ever";
}

TEST_F(SeveralDevicesTest, WhoIsHeldOnADeviceStartsOnAnother) {
  Make(2, SchedulingPolicy::kLatency);
  Enqueue();
  Enqueue();
  scheduler_->SetHeld(1, true, 0);
  EXPECT_EQ(Begin(0), "nothing") << "not overtaken by the second";
  EXPECT_EQ(Begin(1), "1.0 @0");
  EXPECT_EQ(Begin(0), "2.0 @0");
  Enqueue();
  Enqueue();
  scheduler_->SetHeld(3, true);
  End(0);
  scheduler_->RemoveRequest(2);
  EXPECT_EQ(Begin(0), "4.0 @0") << "held everywhere: passed over";
}

TEST_F(SeveralDevicesTest, WouldStartNowIfAnyDeviceTakesIt) {
  Make(2, SchedulingPolicy::kLatency);
  ScheduledRequest request;
  request.choices = {Model().Choice(0, 0)};
  std::string reason;
  Enqueue();
  EXPECT_EQ(Begin(0), "1.0 @0");
  EXPECT_TRUE(scheduler_->WouldStartNow(request, now_, &reason));
  Enqueue();
  EXPECT_EQ(Begin(1), "2.0 @0");
  EXPECT_FALSE(scheduler_->WouldStartNow(request, now_, &reason));
  EXPECT_EQ(reason, "1 images in the making go first");
}

}  // namespace
}  // namespace heatkv::server
