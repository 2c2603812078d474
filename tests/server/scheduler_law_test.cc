// Laws of the scheduler over random traces, driven with a real pool and real
// block lists as the engine drives it, but for the computing.

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cache/block_lists.h"
#include "cache/block_pool.h"
#include "cache/heatkv_solver.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/scheduler.h"
#include "tests/cache/random_case.h"

namespace heatkv::server {
namespace {

using cache::BlockLists;
using cache::Dice;
using cache::Grid;
using cache::ScaleLadder;
using cache::Trajectory;

constexpr int kTiers = 3;
constexpr double kBudgets[kTiers] = {1.0, 0.5, 0.3};
constexpr cache::CacheGeometry kGeometry{
    .layers = 2, .heads = 3, .head_width = 8, .bytes_per_value = 2};

// Trajectories of three ladders, three tiers and both numbers of branches.
class Menu {
 public:
  Menu() {
    const std::vector<std::vector<Grid>> ladders = {
        {{1, 1}, {2, 2}, {3, 3}, {4, 4}, {6, 6}, {8, 8}},
        {{1, 2}, {2, 4}, {3, 6}, {4, 8}, {6, 12}},
        {{1, 1}, {2, 2}, {4, 4}, {6, 6}, {8, 8}, {10, 10}, {12, 12}}};
    for (const std::vector<Grid>& grids : ladders) {
      ladders_.push_back(*ScaleLadder::Create(grids, 2));
      const ScaleLadder& ladder = ladders_.back();
      for (const double budget : kBudgets) {
        const auto schedule = std::make_shared<const cache::Schedule>(
            *cache::SolveHeatKv(ladder, kGeometry.layers, kGeometry.heads,
                                cache::RandomRanking(ladder, kGeometry.layers,
                                                     kGeometry.heads, 7),
                                *cache::Budget::Create(budget)));
        for (const int branches : {1, 2}) {
          trajectories_.push_back(std::make_shared<const Trajectory>(
              schedule, kGeometry, branches));
          most_ = std::max(most_, trajectories_.back()->peak_blocks());
        }
      }
    }
  }

  int ladders() const { return static_cast<int>(ladders_.size()); }
  const std::shared_ptr<const Trajectory>& at(int ladder, int tier,
                                              int branches) const {
    return trajectories_[(ladder * kTiers + tier) * 2 + branches - 1];
  }
  std::int64_t largest_peak() const { return most_; }

  // Images of one step: 64 rows, 8 images at most.
  int Capacity(int ladder, int scale, int branches) const {
    const auto rows =
        static_cast<int>(branches * ladders_[ladder].tokens(scale));
    return std::clamp(64 / rows, 1, 8);
  }

 private:
  std::vector<ScaleLadder> ladders_;
  std::vector<std::shared_ptr<const Trajectory>> trajectories_;
  std::int64_t most_ = 0;
};

const Menu& TheMenu() {
  static const Menu* const menu = new Menu;
  return *menu;
}

// Plays the engine: executes turns with a pool and block lists, and expects of
// the scheduler what it promises.
class Device {
 public:
  Device(SchedulerOptions options, std::int64_t blocks)
      : pool_(blocks),
        scheduler_(std::move(options), [](int ladder, int scale, int branches) {
          return TheMenu().Capacity(ladder, scale, branches);
        }) {}

  Scheduler& scheduler() { return scheduler_; }
  const cache::BlockPool& pool() const { return pool_; }
  // Requests that are neither finished nor cancelled.
  const std::map<std::uint64_t, int>& images_left() const { return left_; }
  int finished() const { return finished_; }

  void Enqueue(ScheduledRequest request) {
    left_[request.number] = request.images;
    choices_[request.number] = request.choices;
    scheduler_.Enqueue(std::move(request));
  }

  void Cancel(std::uint64_t number) {
    scheduler_.RemoveRequest(number);
    std::erase_if(lists_,
                  [&](const auto& l) { return l.first.request == number; });
    left_.erase(number);
    held_.erase(number);
  }

  void SetHeld(std::uint64_t number, bool held) {
    scheduler_.SetHeld(number, held);
    if (held) {
      held_.insert(number);
    } else {
      held_.erase(number);
    }
  }

  // Requests that the limit has made impossible, as the engine ends them.
  int CancelWhatCannotFit(absl::Time now) {
    std::vector<std::uint64_t> numbers;
    for (const QueuedRequest* waiting : scheduler_.queue().InOrder(now)) {
      if (scheduler_.LeastPeak(waiting->number) >
          scheduler_.options().limit_blocks) {
        numbers.push_back(waiting->number);
      }
    }
    for (const std::uint64_t number : numbers) Cancel(number);
    return static_cast<int>(numbers.size());
  }

  // One turn; `after_step` is called between the turn's execution and its
  // reports.  False if there was none.
  template <typename AfterStep>
  bool RunTurn(absl::Time now, AfterStep after_step) {
    const State before = Look(now);
    const std::int64_t limit = scheduler_.EffectiveLimit();
    EXPECT_LE(limit, pool_.capacity());

    const std::optional<Turn> turn = scheduler_.Next(now);
    if (!turn.has_value()) {
      EXPECT_EQ(Look(now), before);
      // Nothing to do: all that wait are held.
      EXPECT_EQ(scheduler_.running_images(), 0);
      EXPECT_EQ(scheduler_.queue().Next(now), nullptr);
      for (const auto& [number, images] : left_) {
        EXPECT_TRUE(held_.contains(number)) << "request " << number;
      }
      return false;
    }
    ExpectShape(*turn, before, now);
    Execute(*turn, limit);
    after_step(*turn);
    Report(*turn);
    ExpectBooksBalance();
    ++turns_;
    return true;
  }

 private:
  // What a refused admission must leave as it is.
  struct State {
    std::vector<std::pair<ImageRef, int>> flight;
    // In order, with what decides whether one may start.  Empty but for every
    // eighth turn: it takes long to find out.
    std::vector<std::pair<std::uint64_t, std::int64_t>> queue;
    int waiting_images;
    std::int64_t held;
    std::int64_t peak_sum;

    friend bool operator==(const State&, const State&) = default;
  };

  State Look(absl::Time now) const {
    State state;
    for (const Scheduler::Flight& f : scheduler_.InFlight()) {
      state.flight.push_back({f.image, f.progress.next_scale});
    }
    for (const QueuedRequest* waiting :
         turns_ % 8 == 0 ? scheduler_.queue().InOrder(now)
                         : std::vector<const QueuedRequest*>()) {
      state.queue.push_back(
          {waiting->number, scheduler_.LeastPeak(waiting->number)});
    }
    state.waiting_images = scheduler_.queue().images();
    state.held = scheduler_.blocks_held();
    state.peak_sum = scheduler_.peak_sum_blocks();
    return state;
  }

  void ExpectShape(const Turn& turn, const State& before, absl::Time now) {
    EXPECT_LE(scheduler_.running_images(),
              std::max<int>(scheduler_.options().max_running_images,
                            static_cast<int>(before.flight.size())));
    EXPECT_GE(turn.group.size(), 1u);
    EXPECT_LE(static_cast<int>(turn.group.size()),
              TheMenu().Capacity(turn.ladder, turn.scale, turn.branches));
    const std::set<ImageRef> distinct(turn.group.begin(), turn.group.end());
    EXPECT_EQ(distinct.size(), turn.group.size());
    int started = 0;
    std::int64_t peak_sum = before.peak_sum;
    for (const ImageRef& ref : turn.group) {
      const TierChoice& choice = scheduler_.Choice(ref.request);
      EXPECT_EQ(choice.trajectory->branches(), turn.branches);
      if (lists_.contains(ref)) continue;
      ++started;
      ExpectTier(ref.request, choice, peak_sum);
      peak_sum += choice.trajectory->peak_blocks();
    }
    const State after = Look(now);
    EXPECT_EQ(after.held, before.held);
    EXPECT_EQ(after.peak_sum, peak_sum);
    if (started == 0) {
      EXPECT_EQ(after, before);
      return;
    }
    EXPECT_EQ(turn.scale, 0);
    EXPECT_EQ(after.waiting_images, before.waiting_images - started);
    EXPECT_EQ(after.flight.size(), before.flight.size() + started);
  }

  // An image that starts is on the tier of those before it of its request; the
  // first one on the best that fits with every peak, else on the last one.
  void ExpectTier(std::uint64_t number, const TierChoice& choice,
                  std::int64_t peak_sum) {
    const auto [granted, is_first] = granted_.emplace(number, choice.tier);
    EXPECT_EQ(granted->second, choice.tier);
    if (!is_first) return;
    const std::vector<TierChoice>& choices = choices_.at(number);
    const auto best = std::find_if(
        choices.begin(), choices.end() - 1, [&](const TierChoice& c) {
          return peak_sum + c.trajectory->peak_blocks() <=
                 scheduler_.options().limit_blocks;
        });
    EXPECT_EQ(choice.tier, best->tier) << "request " << number;
  }

  void Execute(const Turn& turn, std::int64_t limit) {
    for (const ImageRef& ref : turn.group) {
      auto& lists = lists_[ref];
      if (lists == nullptr) {
        lists = std::make_unique<BlockLists>(
            &pool_, scheduler_.Choice(ref.request).trajectory);
      }
      (void)lists->PlanStep(turn.scale);
    }
    EXPECT_LE(pool_.used(), limit);
    EXPECT_LE(pool_.reserved(), limit);
    for (const ImageRef& ref : turn.group) lists_[ref]->FinishStep();
  }

  void Report(const Turn& turn) {
    for (const ImageRef& ref : turn.group) {
      const auto lists = lists_.find(ref);
      if (lists == lists_.end()) continue;  // cancelled
      const int scales =
          lists->second->trajectory().schedule()->ladder().num_scales();
      const bool is_last = lists->second->next_scale() == scales;
      scheduler_.StepDone(ref);
      if (!is_last) continue;
      EXPECT_EQ(lists->second->blocks_held(), 0);
      lists_.erase(lists);
      if (--left_.at(ref.request) == 0) {
        left_.erase(ref.request);
        held_.erase(ref.request);
        ++finished_;
      }
    }
  }

  void ExpectBooksBalance() {
    std::int64_t planned = 0;
    std::int64_t peaks = 0;
    for (const auto& [ref, lists] : lists_) {
      const int next = lists->next_scale();
      planned += lists->trajectory().blocks_before(next);
      peaks += lists->trajectory().peak_blocks_from(next);
    }
    EXPECT_EQ(pool_.used() - planned, 0) << "plan error";
    EXPECT_EQ(pool_.reserved(), pool_.used());
    EXPECT_EQ(scheduler_.blocks_held(), planned);
    EXPECT_EQ(scheduler_.peak_sum_blocks(), peaks);
    EXPECT_EQ(scheduler_.running_images(), static_cast<int>(lists_.size()));
  }

  cache::BlockPool pool_;
  Scheduler scheduler_;
  std::map<ImageRef, std::unique_ptr<BlockLists>> lists_;
  std::map<std::uint64_t, int> left_;
  std::set<std::uint64_t> held_;
  std::map<std::uint64_t, std::vector<TierChoice>> choices_;
  std::map<std::uint64_t, int> granted_;
  int turns_ = 0;
  int finished_ = 0;
};

ScheduledRequest RandomRequest(std::uint64_t number, absl::Time now,
                               std::int64_t limit, Dice* dice) {
  ScheduledRequest request;
  request.number = number;
  request.ladder = dice->Int(0, TheMenu().ladders() - 1);
  request.images = dice->Int(1, 4);
  request.priority = static_cast<Priority>(dice->Int(0, 2));
  request.tenant = absl::StrCat("tenant ", dice->Int(0, 3));
  request.arrived = now;
  request.image_byte_seconds = dice->Int(0, 9);
  const int branches = dice->Int(1, 2);
  const int first = dice->Int(0, kTiers - 1);
  int last = dice->Int(first, kTiers - 1);
  while (TheMenu().at(request.ladder, last, branches)->peak_blocks() > limit) {
    ++last;
  }
  for (int tier = first; tier <= last; ++tier) {
    request.choices.push_back(
        {tier, TheMenu().at(request.ladder, tier, branches)});
  }
  return request;
}

std::uint64_t AnyOf(const std::map<std::uint64_t, int>& requests, Dice* dice) {
  const int index = dice->Int(0, static_cast<int>(requests.size()) - 1);
  return std::next(requests.begin(), index)->first;
}

struct Sums {
  int requests = 0;
  int finished = 0;
  int cancelled = 0;
  int turns = 0;
  int turns_above_sum_of_peaks = 0;
  int lowered_below_need = 0;
};

// One trace of `requests` requests.
void RunTrace(int seed, int requests, Sums* sums) {
  Dice dice(seed);
  const std::int64_t least = TheMenu().at(2, kTiers - 1, 2)->peak_blocks();
  const std::int64_t blocks = TheMenu().largest_peak() * dice.Int(10, 50) / 10;
  SchedulerOptions options;
  options.limit_blocks = blocks;
  options.max_running_images = dice.Int(1, 24);
  options.policy =
      seed % 2 == 0 ? SchedulingPolicy::kLatency : SchedulingPolicy::kPreview;
  options.rule = seed / 2 % 2 == 0 ? AdmissionRule::kSafeState
                                   : AdmissionRule::kSumOfPeaks;
  SchedulingPolicy other_policy = SchedulingPolicy::kPreview;
  if (options.policy == other_policy) other_policy = SchedulingPolicy::kLatency;
  AdmissionRule other_rule = AdmissionRule::kSumOfPeaks;
  if (options.rule == other_rule) other_rule = AdmissionRule::kSafeState;
  options.queue.aging = absl::Seconds(dice.Int(5, 100));
  options.queue.weights = {{"tenant 1", 3}, {"tenant 2", 0.5}};
  Device device(options, blocks);

  absl::Time now = absl::FromUnixSeconds(1000);
  int enqueued = 0;
  int cancelled = 0;
  int turns = 0;
  int images = 0;
  const auto cancel_any = [&](int percent) {
    if (dice.Int(0, 99) >= percent || device.images_left().empty()) return;
    device.Cancel(AnyOf(device.images_left(), &dice));
    ++cancelled;
  };
  while (enqueued < requests || !device.images_left().empty()) {
    now += absl::Seconds(dice.Int(0, 2));
    const int arrivals = dice.Int(0, 7) == 0 ? dice.Int(1, 12) : 0;
    for (int i = 0; i < arrivals && enqueued < requests; ++i) {
      ScheduledRequest request =
          RandomRequest(static_cast<std::uint64_t>(++enqueued), now,
                        device.scheduler().options().limit_blocks, &dice);
      images += request.images;
      device.Enqueue(std::move(request));
    }
    cancel_any(3);
    if (dice.Int(0, 29) == 0) {
      options.limit_blocks =
          least + dice.Int(0, static_cast<int>(blocks - least));
      if (dice.Int(0, 3) == 0) options.limit_blocks = blocks;
      options.max_running_images = dice.Int(1, 24);
      if (dice.Int(0, 3) == 0) {
        std::swap(options.policy, other_policy);
        std::swap(options.rule, other_rule);
      }
      device.scheduler().SetOptions(options);
      cancelled += device.CancelWhatCannotFit(now);
      sums->lowered_below_need +=
          device.scheduler().EffectiveLimit() > options.limit_blocks;
    }
    if (!device.images_left().empty() && dice.Int(0, 19) == 0) {
      device.SetHeld(AnyOf(device.images_left(), &dice), dice.Int(0, 1) == 0);
    }
    const bool ran = device.RunTurn(now, [&](const Turn&) { cancel_any(2); });
    turns += ran;
    sums->turns_above_sum_of_peaks +=
        device.scheduler().peak_sum_blocks() > options.limit_blocks;
    if (!ran && enqueued == requests) {
      // What is left waits for its readers.
      for (auto copy = device.images_left();
           const auto& [number, left] : copy) {
        device.SetHeld(number, false);
      }
    }
    // Each turn takes at least one image one scale further.
    ASSERT_LE(turns, images * 7);
    ASSERT_FALSE(testing::Test::HasFailure()) << "turn " << turns;
  }
  EXPECT_EQ(device.pool().used(), 0);
  EXPECT_EQ(device.pool().reserved(), 0);
  EXPECT_TRUE(device.scheduler().queue().empty());
  EXPECT_EQ(device.scheduler().running_images(), 0);
  EXPECT_EQ(device.finished() + cancelled, requests);
  sums->requests += requests;
  sums->finished += device.finished();
  sums->cancelled += cancelled;
  sums->turns += turns;
}

TEST(SchedulerLawTest, TenThousandRequestsInRandomTraces) {
  Sums sums;
  for (int seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RunTrace(seed, 100, &sums);
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_EQ(sums.requests, 10000);
  EXPECT_GT(sums.finished, 5000);
  EXPECT_GT(sums.cancelled, 1000);
  EXPECT_GT(sums.turns_above_sum_of_peaks, 3000);
  EXPECT_GT(sums.lowered_below_need, 50);
}

// A pool that is kept full by a stream of small urgent requests: a large one of
// low priority ends all the same, in the queue and in flight.
TEST(SchedulerLawTest, NobodyWaitsForEverUnderAStream) {
  for (const SchedulingPolicy policy :
       {SchedulingPolicy::kLatency, SchedulingPolicy::kPreview}) {
    for (const AdmissionRule rule :
         {AdmissionRule::kSafeState, AdmissionRule::kSumOfPeaks}) {
      for (const double pools : {1.0, 1.5, 4.0}) {
        SCOPED_TRACE(testing::Message()
                     << "policy " << static_cast<int>(policy) << ", rule "
                     << static_cast<int>(rule) << ", " << pools << " pools");
        SchedulerOptions options;
        options.limit_blocks =
            static_cast<std::int64_t>(pools * TheMenu().largest_peak());
        options.policy = policy;
        options.rule = rule;
        options.queue.aging = absl::Seconds(50);
        Device device(options, options.limit_blocks);
        absl::Time now = absl::FromUnixSeconds(1000);
        std::uint64_t number = 0;
        const auto enqueue = [&](int ladder, Priority priority) {
          ScheduledRequest request;
          request.number = ++number;
          request.ladder = ladder;
          request.priority = priority;
          request.tenant = priority == Priority::kHigh ? "eager" : "patient";
          request.arrived = now;
          request.image_byte_seconds = ladder + 1;
          request.choices = {{0, TheMenu().at(ladder, 0, 2)}};
          device.Enqueue(std::move(request));
        };
        enqueue(2, Priority::kLow);
        int turns = 0;
        for (; device.images_left().contains(1) && turns < 3000; ++turns) {
          now += absl::Seconds(1);
          while (device.scheduler().queue().size() < 16) {
            enqueue(1, Priority::kHigh);
          }
          ASSERT_TRUE(device.RunTurn(now, [](const Turn&) {}));
          ASSERT_FALSE(HasFailure());
        }
        EXPECT_LT(turns, 600);
        // What is still there ends as well.
        while (!device.images_left().empty()) {
          ASSERT_TRUE(device.RunTurn(now, [](const Turn&) {}));
          ASSERT_FALSE(HasFailure());
        }
        EXPECT_EQ(device.pool().used(), 0);
      }
    }
  }
}

}  // namespace
}  // namespace heatkv::server
