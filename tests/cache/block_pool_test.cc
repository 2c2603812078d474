#include "cache/block_pool.h"

#include <optional>
#include <set>
#include <type_traits>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache/random_case.h"

namespace heatkv::cache {
namespace {

static_assert(!std::is_copy_constructible_v<Reservation>);
static_assert(std::is_nothrow_move_constructible_v<Reservation>);
static_assert(!std::is_copy_constructible_v<BlockPool>);
static_assert(!std::is_move_constructible_v<BlockPool>);

TEST(BlockPoolTest, ReservationThatDoesNotFitLeavesThePoolUnchanged) {
  BlockPool pool(10);
  const std::optional<Reservation> first = pool.Reserve(7);
  ASSERT_TRUE(first.has_value());
  EXPECT_FALSE(pool.Reserve(4).has_value());
  EXPECT_EQ(pool.reserved(), 7);
  EXPECT_EQ(pool.unreserved(), 3);
  EXPECT_EQ(pool.used(), 0);
  EXPECT_TRUE(pool.Reserve(3).has_value());
}

TEST(BlockPoolTest, DestroyedReservationGivesItsPromiseBack) {
  BlockPool pool(10);
  {
    const std::optional<Reservation> reservation = pool.Reserve(10);
    EXPECT_EQ(pool.unreserved(), 0);
  }
  EXPECT_EQ(pool.unreserved(), 10);
}

TEST(BlockPoolTest, HandsOutTheLowestFirstThenTheMostRecentlyGivenBack) {
  BlockPool pool(10);
  Reservation reservation = *pool.Reserve(10);
  EXPECT_EQ(reservation.Take(), 0);
  EXPECT_EQ(reservation.Take(), 1);
  EXPECT_EQ(reservation.Take(), 2);
  reservation.Give(0);
  reservation.Give(2);
  EXPECT_EQ(reservation.Take(), 2);
  EXPECT_EQ(reservation.Take(), 0);
  EXPECT_EQ(reservation.Take(), 3);
  for (const int block : {0, 1, 2, 3}) reservation.Give(block);
}

TEST(BlockPoolTest, MovedReservationTakesItsBlocksAlong) {
  BlockPool pool(4);
  Reservation first = *pool.Reserve(2);
  const int block = first.Take();
  Reservation second = std::move(first);
  EXPECT_EQ(second.held(), 1);
  EXPECT_EQ(pool.reserved(), 2);
  second.Give(block);
  second = *pool.Reserve(1);
  EXPECT_EQ(pool.reserved(), 1);
}

TEST(BlockPoolTest, ShrinkingGivesUpPartOfThePromise) {
  BlockPool pool(10);
  Reservation reservation = *pool.Reserve(8);
  const int block = reservation.Take();
  reservation.ShrinkTo(3);
  EXPECT_EQ(pool.unreserved(), 7);
  EXPECT_EQ(reservation.blocks(), 3);
  reservation.Give(block);
}

TEST(BlockPoolTest, GrowingRaisesThePromiseWhileBlocksAreUnpromised) {
  BlockPool pool(10);
  Reservation first = *pool.Reserve(2);
  const Reservation second = *pool.Reserve(3);
  EXPECT_TRUE(first.GrowTo(7));
  EXPECT_EQ(first.blocks(), 7);
  EXPECT_EQ(pool.unreserved(), 0);
  EXPECT_TRUE(first.GrowTo(7));
  EXPECT_FALSE(first.GrowTo(8));
  EXPECT_EQ(first.blocks(), 7);
  EXPECT_EQ(pool.reserved(), 10);
  first.ShrinkTo(0);
  EXPECT_EQ(pool.reserved(), 3);
}

TEST(BlockPoolTest, RandomTakingAndGivingNeverSharesABlock) {
  for (int seed = 0; seed < 50; ++seed) {
    Dice dice(seed);
    BlockPool pool(64);
    std::vector<Reservation> reservations;
    std::vector<std::vector<int>> held;
    std::set<int> all;
    std::size_t most = 0;
    for (int step = 0; step < 2000; ++step) {
      if (dice.Int(0, 9) == 0) {
        if (auto r = pool.Reserve(dice.Int(0, 30)); r.has_value()) {
          reservations.push_back(*std::move(r));
          held.emplace_back();
        }
      }
      if (reservations.empty()) continue;
      const int i = dice.Int(0, static_cast<int>(reservations.size()) - 1);
      if (dice.Int(0, 1) == 0 &&
          (reservations[i].held() < reservations[i].blocks() ||
           reservations[i].GrowTo(reservations[i].blocks() + dice.Int(1, 8)))) {
        const int block = reservations[i].Take();
        ASSERT_TRUE(all.insert(block).second) << "block " << block;
        held[i].push_back(block);
      } else if (!held[i].empty()) {
        reservations[i].Give(held[i].back());
        all.erase(held[i].back());
        held[i].pop_back();
      } else {
        reservations.erase(reservations.begin() + i);
        held.erase(held.begin() + i);
      }
      most = std::max(most, all.size());
      std::int64_t promised = 0;
      for (const Reservation& r : reservations) promised += r.blocks();
      ASSERT_EQ(pool.reserved(), promised);
      ASSERT_EQ(pool.used(), static_cast<std::int64_t>(all.size()));
    }
    EXPECT_EQ(pool.high_water(), static_cast<std::int64_t>(most));
    for (std::size_t i = 0; i < reservations.size(); ++i) {
      for (const int block : held[i]) reservations[i].Give(block);
    }
  }
}

TEST(BlockPoolDeathTest, MisuseOfBlocksIsCaught) {
  BlockPool pool(2);
  Reservation reservation = *pool.Reserve(1);
  const int block = reservation.Take();
  EXPECT_DEATH(reservation.Take(), "held_ < blocks_");
  EXPECT_DEATH(reservation.Give(1), "block 1 is free already");
  EXPECT_DEATH(reservation.ShrinkTo(0), "1 held, 0 wanted, 1 promised");
  EXPECT_DEATH((void)reservation.GrowTo(0), "blocks >= blocks_");
  reservation.Give(block);
  EXPECT_DEATH(reservation.Give(block), "held_ > 0");
}

TEST(BlockPoolDeathTest, ReservationThatStillHoldsABlockMustNotDie) {
  BlockPool pool(2);
  EXPECT_DEATH(
      {
        Reservation reservation = *pool.Reserve(1);
        reservation.Take();
      },
      "held_ == 0");
}

TEST(BlockPoolDeathTest, PoolOutlivesItsReservations) {
  EXPECT_DEATH(
      {
        std::optional<Reservation> reservation;
        BlockPool pool(2);
        reservation = pool.Reserve(1);
      },
      "reserved_ == 0");
}

}  // namespace
}  // namespace heatkv::cache
