#include "server/engine/fair_queue.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache/random_case.h"

namespace heatkv::server {
namespace {

using cache::Dice;
using testing::ElementsAre;
using testing::HasSubstr;

const absl::Time kStart = absl::FromUnixSeconds(1000);

QueuedRequest Request(std::uint64_t number, const std::string& tenant = "a",
                      Priority priority = Priority::kNormal, double cost = 1,
                      int images = 1, absl::Time arrived = kStart) {
  return {.number = number,
          .tenant = tenant,
          .priority = priority,
          .arrived = arrived,
          .images = images,
          .image_bytes = 100,
          .image_byte_seconds = cost};
}

QueueOptions Options() {
  QueueOptions options;
  options.max_requests = 1000000;
  options.max_bytes = std::int64_t{1} << 60;
  return options;
}

// Takes images until none waits; the requests that they are of.
std::vector<std::uint64_t> Drain(FairQueue* queue, absl::Time now) {
  std::vector<std::uint64_t> order;
  while (const QueuedRequest* next = queue->Next(now)) {
    order.push_back(next->number);
    queue->TakeImage(next->number, now);
  }
  return order;
}

std::vector<std::uint64_t> Numbers(
    const std::vector<const QueuedRequest*>& requests) {
  std::vector<std::uint64_t> numbers;
  for (const QueuedRequest* request : requests) {
    numbers.push_back(request->number);
  }
  return numbers;
}

TEST(FairQueueTest, EqualsLeaveInTheOrderOfTheirArrival) {
  FairQueue queue(Options());
  for (const std::uint64_t number : {7, 3, 9, 4}) queue.Join(Request(number));
  EXPECT_THAT(Drain(&queue, kStart), ElementsAre(7, 3, 9, 4));
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.Next(kStart), nullptr);
}

TEST(FairQueueTest, CountsRequestsImagesAndBytes) {
  FairQueue queue(Options());
  EXPECT_EQ(queue.oldest_arrival(), absl::InfiniteFuture());
  queue.Join(Request(1, "a", Priority::kNormal, 1, 3));
  queue.Join(Request(2, "b", Priority::kHigh, 1, 2, kStart + absl::Seconds(1)));
  EXPECT_EQ(queue.size(), 2);
  EXPECT_EQ(queue.images(), 5);
  EXPECT_EQ(queue.bytes(), 500);
  EXPECT_EQ(queue.oldest_arrival(), kStart);
  queue.TakeImage(1, kStart);
  EXPECT_EQ(queue.size(), 2);
  EXPECT_EQ(queue.images(), 4);
  EXPECT_EQ(queue.bytes(), 400);
  EXPECT_TRUE(queue.Remove(1));
  EXPECT_FALSE(queue.Remove(1));
  EXPECT_EQ(queue.size(), 1);
  EXPECT_EQ(queue.images(), 2);
  EXPECT_EQ(queue.bytes(), 200);
  EXPECT_EQ(queue.oldest_arrival(), kStart + absl::Seconds(1));
}

TEST(FairQueueTest, RequestOfSeveralImagesLeavesWithItsLast) {
  FairQueue queue(Options());
  queue.Join(Request(1, "a", Priority::kNormal, 1, 3));
  queue.Join(Request(2, "a"));
  EXPECT_EQ(queue.Next(kStart)->images, 3);
  EXPECT_THAT(Drain(&queue, kStart), ElementsAre(1, 1, 1, 2));
}

TEST(FairQueueTest, BoundsNameBothNumbers) {
  QueueOptions options = Options();
  options.max_requests = 2;
  options.max_bytes = 1000;
  FairQueue queue(options);
  // Alone, it is no queue.
  EXPECT_TRUE(queue.MayJoin(5000).ok());
  queue.Join(Request(1, "a", Priority::kNormal, 1, 7));
  EXPECT_TRUE(queue.MayJoin(300).ok());
  const absl::Status bytes = queue.MayJoin(301);
  EXPECT_EQ(bytes.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(bytes.message()),
              AllOf(HasSubstr("700 bytes"), HasSubstr("301 more"),
                    HasSubstr("1000 may wait")));
  queue.Join(Request(2, "a", Priority::kNormal, 1, 3));
  const absl::Status requests = queue.MayJoin(0);
  EXPECT_EQ(requests.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(requests.message()), HasSubstr("2 of 2 requests"));

  // Those above a new bound stay.
  options.max_requests = 1;
  options.max_bytes = 100;
  queue.SetOptions(options);
  EXPECT_THAT(std::string(queue.MayJoin(0).message()),
              HasSubstr("2 of 1 requests"));
  EXPECT_EQ(Drain(&queue, kStart).size(), 10u);
}

TEST(FairQueueTest, HigherClassesGoFirst) {
  FairQueue queue(Options());
  queue.Join(Request(1, "a", Priority::kLow));
  queue.Join(Request(2, "b", Priority::kNormal));
  queue.Join(Request(3, "a", Priority::kHigh));
  queue.Join(Request(4, "a", Priority::kNormal));
  queue.Join(Request(5, "b", Priority::kHigh));
  // Of the normal ones a's comes first: b has just had its turn.
  EXPECT_THAT(Drain(&queue, kStart), ElementsAre(3, 5, 4, 2, 1));
}

TEST(FairQueueTest, RequestRisesByOneClassWheneverItHasWaitedForAging) {
  QueueOptions options = Options();
  options.aging = absl::Seconds(10);
  FairQueue queue(options);
  const auto at = [](double seconds) {
    return kStart + absl::Seconds(seconds);
  };
  queue.Join(Request(1, "a", Priority::kLow, 1, 1, at(0)));
  queue.Join(Request(2, "a", Priority::kNormal, 1, 1, at(12)));
  queue.Join(Request(3, "a", Priority::kHigh, 1, 1, at(19)));
  EXPECT_EQ(queue.Next(at(19))->number, 3);
  EXPECT_EQ(queue.Next(at(20))->number, 1);
  // Within a class arrival counts.
  EXPECT_THAT(Numbers(queue.InOrder(at(9))), ElementsAre(3, 2, 1));
  EXPECT_THAT(Numbers(queue.InOrder(at(10))), ElementsAre(3, 1, 2));
  EXPECT_THAT(Numbers(queue.InOrder(at(20))), ElementsAre(1, 3, 2));
  EXPECT_THAT(Numbers(queue.InOrder(at(22))), ElementsAre(1, 2, 3));
}

TEST(FairQueueTest, NobodyStarvesUnderAStreamOfHighOnes) {
  QueueOptions options = Options();
  options.aging = absl::Seconds(10);
  FairQueue queue(options);
  queue.Join(Request(1, "slow", Priority::kLow));
  // Every second two more come than leave.
  std::uint64_t number = 2;
  int taken_at = -1;
  for (int second = 0; second < 60 && taken_at < 0; ++second) {
    const absl::Time now = kStart + absl::Seconds(second);
    for (int i = 0; i < 3; ++i) {
      queue.Join(Request(number++, "eager", Priority::kHigh, 1, 1, now));
    }
    const std::uint64_t next = queue.Next(now)->number;
    if (next == 1) taken_at = second;
    queue.TakeImage(next, now);
  }
  EXPECT_GE(taken_at, 20);
  EXPECT_LE(taken_at, 21);
}

TEST(FairQueueTest, TenantsOfEqualCostTakeTurns) {
  FairQueue queue(Options());
  for (const std::uint64_t number : {1, 2, 3, 4}) queue.Join(Request(number));
  queue.Join(Request(5, "b"));
  queue.Join(Request(6, "c"));
  queue.Join(Request(7, "b"));
  EXPECT_THAT(Drain(&queue, kStart), ElementsAre(1, 5, 6, 2, 7, 3, 4));
}

// Drains `queue` and CHECKs on the way that byte-seconds by tenant stay in
// proportion to `shares` within `most` for each share.
void ExpectProportion(FairQueue* queue, std::map<std::string, double> shares,
                      double most, int takes) {
  std::map<std::string, double> got;
  for (int i = 0; i < takes; ++i) {
    const QueuedRequest* next = queue->Next(kStart);
    ASSERT_NE(next, nullptr);
    got[next->tenant] += next->image_byte_seconds;
    queue->TakeImage(next->number, kStart);
    for (const auto& [one, share] : shares) {
      for (const auto& [other, other_share] : shares) {
        ASSERT_LE(got[one] / share - got[other] / other_share, most)
            << one << " over " << other << " after " << i + 1 << " images";
      }
    }
  }
}

TEST(FairQueueTest, TenantsGetEqualByteSecondsWhateverTheirImagesCost) {
  FairQueue queue(Options());
  for (std::uint64_t i = 0; i < 100; ++i) {
    queue.Join(Request(2 * i, "small", Priority::kNormal, 1, 10));
    queue.Join(Request(2 * i + 1, "big", Priority::kNormal, 10, 10));
  }
  // One quantum is 10; who is served may have it and what was left before.
  ExpectProportion(&queue, {{"small", 1}, {"big", 1}}, 20, 900);
}

TEST(FairQueueTest, WeightsOfThreeToOneGiveThreeToOne) {
  QueueOptions options = Options();
  options.weights = {{"big", 3}, {"rare", 0.5}};
  FairQueue queue(options);
  for (std::uint64_t i = 0; i < 300; ++i) {
    queue.Join(Request(3 * i, "small", Priority::kNormal, 4, 10));
    queue.Join(Request(3 * i + 1, "big", Priority::kNormal, 10, 10));
    queue.Join(Request(3 * i + 2, "rare", Priority::kNormal, 7, 10));
  }
  ExpectProportion(&queue, {{"small", 1}, {"big", 3}, {"rare", 0.5}}, 35, 2500);

  // Weights change from one turn to the next.
  options.weights = {{"small", 5}};
  queue.SetOptions(options);
  ExpectProportion(&queue, {{"small", 5}, {"big", 1}}, 35, 500);
}

TEST(FairQueueTest, ImagesOfNoCostTakeTurnsToo) {
  FairQueue queue(Options());
  for (std::uint64_t i = 0; i < 3; ++i) {
    queue.Join(Request(10 + i, "a", Priority::kNormal, 0));
    queue.Join(Request(20 + i, "b", Priority::kNormal, 0));
  }
  EXPECT_THAT(Drain(&queue, kStart), ElementsAre(10, 20, 11, 21, 12, 22));
  for (std::uint64_t i = 0; i < 3; ++i) {
    queue.Join(Request(10 + i, "a", Priority::kNormal, 0));
    queue.Join(Request(20 + i, "b", Priority::kNormal, 8));
  }
  EXPECT_THAT(Drain(&queue, kStart), ElementsAre(10, 20, 11, 21, 12, 22));
}

TEST(FairQueueTest, IdleTenantKeepsNoCredit) {
  QueueOptions options = Options();
  options.weights = {{"a", 100}};
  FairQueue queue(options);
  // One visit would let a take 100 images; it has only one.
  queue.Join(Request(1, "a"));
  queue.Join(Request(2, "b"));
  EXPECT_THAT(Drain(&queue, kStart), ElementsAre(1, 2));
  options.weights.clear();
  queue.SetOptions(options);
  for (std::uint64_t i = 0; i < 3; ++i) {
    queue.Join(Request(10 + i, "b"));
    queue.Join(Request(20 + i, "a"));
  }
  EXPECT_THAT(Drain(&queue, kStart), ElementsAre(10, 20, 11, 21, 12, 22));
}

TEST(FairQueueTest, WhoIsTakenOutOfTurnPaysForIt) {
  FairQueue queue(Options());
  for (std::uint64_t i = 0; i < 4; ++i) {
    queue.Join(Request(10 + i, "a"));
    queue.Join(Request(20 + i, "b"));
  }
  ASSERT_EQ(queue.Next(kStart)->number, 10);
  queue.TakeImage(21, kStart);
  queue.TakeImage(22, kStart);
  // b has had two; a gets as many before b comes again.
  EXPECT_THAT(Drain(&queue, kStart), ElementsAre(10, 11, 12, 20, 13, 23));
}

TEST(FairQueueTest, WhoIsNextStaysSoUntilSomethingHappens) {
  FairQueue queue(Options());
  queue.Join(Request(1, "a", Priority::kNormal, 5));
  queue.Join(Request(2, "b", Priority::kNormal, 1));
  for (int i = 0; i < 10; ++i) ASSERT_EQ(queue.Next(kStart)->number, 1);
  // Equals who come later do not overtake it.
  queue.Join(Request(3, "c", Priority::kNormal, 1));
  queue.Join(Request(4, "a", Priority::kNormal, 1));
  EXPECT_EQ(queue.Next(kStart)->number, 1);
}

TEST(FairQueueTest, HeldRequestsArePassedOverAndKeepTheirPlace) {
  FairQueue queue(Options());
  for (const std::uint64_t number : {1, 2, 3, 4}) queue.Join(Request(number));
  queue.SetHeld(1, true);
  queue.SetHeld(3, true);
  queue.SetHeld(3, true);
  queue.SetHeld(77, true);
  EXPECT_EQ(queue.size(), 4);
  EXPECT_EQ(queue.Next(kStart)->number, 2);
  EXPECT_THAT(Numbers(queue.InOrder(kStart)), ElementsAre(2, 4, 1, 3));
  queue.TakeImage(2, kStart);
  queue.SetHeld(1, false);
  EXPECT_EQ(queue.Next(kStart)->number, 1);
  queue.SetHeld(1, true);
  EXPECT_THAT(Drain(&queue, kStart), ElementsAre(4));
  EXPECT_EQ(queue.size(), 2);
  EXPECT_TRUE(queue.Remove(1));
  queue.SetHeld(3, false);
  EXPECT_THAT(Drain(&queue, kStart), ElementsAre(3));
}

// What the queue's comment says, said differently: a plain list that is looked
// through as a whole, and round robin visit by visit.
class PlainQueue {
 public:
  explicit PlainQueue(QueueOptions options) : options_(std::move(options)) {}

  void Join(QueuedRequest request) {
    if (std::none_of(waiting_.begin(), waiting_.end(), [&](const auto& w) {
          return w.tenant == request.tenant;
        })) {
      turns_.push_back(request.tenant);
      left_[request.tenant] = 0;
    }
    waiting_.push_back(std::move(request));
  }

  void Remove(std::uint64_t number) {
    const auto found = Find(number);
    const std::string tenant = found->tenant;
    waiting_.erase(found);
    held_.erase(number);
    if (std::any_of(waiting_.begin(), waiting_.end(),
                    [&](const auto& w) { return w.tenant == tenant; })) {
      return;
    }
    if (turns_.front() == tenant) is_open_ = false;
    std::erase(turns_, tenant);
  }

  void SetHeld(std::uint64_t number, bool held) { held_[number] = held; }

  // The next request's number, 0 if there is none; moves the turn there.
  std::uint64_t TakeNext(absl::Time now) {
    int highest = -1;
    for (const QueuedRequest& w : waiting_) {
      if (!held_[w.number]) highest = std::max(highest, Class(w, now));
    }
    if (highest < 0) return 0;
    std::map<std::string, const QueuedRequest*> heads;
    double largest = 0;
    for (const QueuedRequest& w : waiting_) {
      if (held_[w.number] || Class(w, now) != highest) continue;
      if (heads.emplace(w.tenant, &w).second) {
        largest = std::max(largest, w.image_byte_seconds);
      }
    }
    while (true) {
      const std::string tenant = turns_.front();
      if (heads.contains(tenant)) {
        if (!is_open_) left_[tenant] += Weight(tenant) * largest;
        is_open_ = true;
        const double price = heads[tenant]->image_byte_seconds;
        if (left_[tenant] >= price) {
          left_[tenant] -= price;
          const std::uint64_t number = heads[tenant]->number;
          TakeOne(number);
          return number;
        }
      }
      is_open_ = false;
      turns_.push_back(tenant);
      turns_.erase(turns_.begin());
    }
  }

  // `number` is not next.
  void TakeOther(std::uint64_t number) {
    left_[Find(number)->tenant] -= Find(number)->image_byte_seconds;
    TakeOne(number);
  }

 private:
  std::vector<QueuedRequest>::iterator Find(std::uint64_t number) {
    return std::find_if(waiting_.begin(), waiting_.end(),
                        [&](const auto& w) { return w.number == number; });
  }
  void TakeOne(std::uint64_t number) {
    if (--Find(number)->images == 0) Remove(number);
  }
  int Class(const QueuedRequest& w, absl::Time now) const {
    return std::min<std::int64_t>(
        2, static_cast<int>(w.priority) + (now - w.arrived) / options_.aging);
  }
  double Weight(const std::string& tenant) {
    const auto found = options_.weights.find(tenant);
    return found == options_.weights.end() ? 1 : found->second;
  }

  QueueOptions options_;
  std::vector<QueuedRequest> waiting_;
  std::map<std::uint64_t, bool> held_;
  std::vector<std::string> turns_;
  std::map<std::string, double> left_;
  bool is_open_ = false;
};

// Prices and weights are small integers and halves, so that sums are exact.
TEST(FairQueueTest, RandomTrafficIsServedAsThePlainQueueServesIt) {
  std::int64_t taken = 0;
  for (int seed = 0; seed < 150; ++seed) {
    Dice dice(seed);
    QueueOptions options = Options();
    options.aging = absl::Seconds(dice.Int(1, 40));
    options.weights = {{"t1", 0.5}, {"t2", 3}};
    FairQueue queue(options);
    PlainQueue plain(options);
    std::vector<std::uint64_t> waiting;
    std::map<std::uint64_t, int> images;
    std::uint64_t number = 1;
    absl::Time now = kStart;
    const auto took_one = [&](std::uint64_t n) {
      if (--images[n] == 0) std::erase(waiting, n);
      ++taken;
    };
    for (int step = 0; step < 400; ++step) {
      now += absl::Seconds(dice.Int(0, 2));
      const int choice = dice.Int(0, 99);
      if (choice < 40) {
        QueuedRequest request =
            Request(number++, absl::StrCat("t", dice.Int(0, 3)),
                    static_cast<Priority>(dice.Int(0, 2)), dice.Int(1, 9),
                    dice.Int(1, 3), now);
        images[request.number] = request.images;
        waiting.push_back(request.number);
        queue.Join(request);
        plain.Join(request);
      } else if (waiting.empty()) {
        ASSERT_EQ(queue.Next(now), nullptr);
      } else if (choice < 85) {
        const std::vector<const QueuedRequest*> order = queue.InOrder(now);
        ASSERT_EQ(order.size(), waiting.size());
        const QueuedRequest* const next = queue.Next(now);
        const std::uint64_t expected = plain.TakeNext(now);
        ASSERT_EQ(next == nullptr ? 0 : next->number, expected)
            << "seed " << seed << ", step " << step;
        if (next == nullptr) continue;
        ASSERT_EQ(order.front(), next);
        queue.TakeImage(expected, now);
        took_one(expected);
      } else {
        const std::uint64_t any =
            waiting[dice.Int(0, static_cast<int>(waiting.size()) - 1)];
        if (choice < 90) {
          const bool held = dice.Int(0, 1) == 0;
          queue.SetHeld(any, held);
          plain.SetHeld(any, held);
        } else if (choice < 95) {
          ASSERT_TRUE(queue.Remove(any));
          plain.Remove(any);
          std::erase(waiting, any);
        } else {
          const QueuedRequest* const next = queue.Next(now);
          if (next != nullptr && next->number == any) continue;
          queue.TakeImage(any, now);
          plain.TakeOther(any);
          took_one(any);
        }
      }
      ASSERT_EQ(queue.size(), static_cast<int>(waiting.size()));
    }

    // Let go, they leave in the order that was foretold.
    for (const std::uint64_t n : waiting) queue.SetHeld(n, false);
    const std::vector<std::uint64_t> foretold = Numbers(queue.InOrder(now));
    std::vector<std::uint64_t> found;
    for (const std::uint64_t n : Drain(&queue, now)) {
      if (std::find(found.begin(), found.end(), n) == found.end()) {
        found.push_back(n);
      }
    }
    ASSERT_EQ(found, foretold) << "seed " << seed;
    ASSERT_EQ(queue.images(), 0);
    ASSERT_EQ(queue.bytes(), 0);
  }
  EXPECT_GT(taken, 15000);
}

TEST(FairQueueDeathTest, MisuseIsABug) {
  FairQueue queue(Options());
  queue.Join(Request(1));
  EXPECT_DEATH(queue.Join(Request(1)), "request 1 waits already");
  EXPECT_DEATH(queue.TakeImage(2, kStart), "request 2 does not wait");
  EXPECT_DEATH(queue.Join(Request(3, "a", Priority::kNormal, 1, 0)), "images");
  QueueOptions options = Options();
  options.weights = {{"a", 0}};
  EXPECT_DEATH(queue.SetOptions(options), "weight > 0");
}

}  // namespace
}  // namespace heatkv::server
