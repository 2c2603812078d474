#include "server/engine/deficit_round_robin.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace heatkv::server {
namespace {

double LargestPrice(std::span<const double> prices) {
  double largest = 0;
  for (const double price : prices) largest = std::max(largest, price);
  return largest > 0 ? largest : 1;
}

double Price(double price, double largest) {
  return price > 0 ? price : largest;
}

}  // namespace

void DeficitRoundRobin::Join(int party, double weight) {
  HEATKV_CHECK_GT(weight, 0);
  seats_.push_back({.party = party, .weight = weight, .left = 0});
}

void DeficitRoundRobin::Leave(int party) {
  if (seats_.front().party == party) is_open_ = false;
  std::erase_if(seats_, [party](const Seat& s) { return s.party == party; });
}

void DeficitRoundRobin::SetWeight(int party, double weight) {
  HEATKV_CHECK_GT(weight, 0);
  seat(party).weight = weight;
}

DeficitRoundRobin::Seat& DeficitRoundRobin::seat(int party) {
  return *std::find_if(seats_.begin(), seats_.end(),
                       [party](const Seat& s) { return s.party == party; });
}

DeficitRoundRobin::Visits DeficitRoundRobin::Decide(
    std::span<const double> prices, double largest) const {
  const int count = static_cast<int>(seats_.size());
  Visits next;
  for (int i = 0; i < count; ++i) {
    // One whose visit is over is the last of the next round.
    const int index = is_open_ ? (i + 1) % count : i;
    const Seat& s = seats_[index];
    if (prices[s.party] < 0) continue;
    const double missing = Price(prices[s.party], largest) - s.left;
    if (is_open_ && index == 0 && missing <= 0) {
      return {.seat = 0, .rounds = 0};
    }
    const double rounds =
        std::max(1.0, std::ceil(missing / (s.weight * largest)));
    if (next.seat < 0 || rounds < next.rounds) {
      next = {.seat = index, .rounds = rounds};
    }
  }
  return next;
}

int DeficitRoundRobin::Next(std::span<const double> prices) const {
  const Visits next = Decide(prices, LargestPrice(prices));
  return next.seat < 0 ? -1 : seats_[next.seat].party;
}

void DeficitRoundRobin::Serve(std::span<const double> prices) {
  const double largest = LargestPrice(prices);
  const Visits next = Decide(prices, largest);
  HEATKV_CHECK_GE(next.seat, 0);
  if (next.rounds > 0) {
    const auto is_after_next = [&](int index) {
      // The order of visits, as in Decide.
      if (is_open_ && next.seat == 0) return false;
      return index > next.seat || (is_open_ && index == 0);
    };
    for (int i = 0; i < static_cast<int>(seats_.size()); ++i) {
      Seat& s = seats_[i];
      if (prices[s.party] < 0) continue;
      const double rounds = next.rounds - (is_after_next(i) ? 1 : 0);
      s.left += rounds * s.weight * largest;
    }
    std::rotate(seats_.begin(), seats_.begin() + next.seat, seats_.end());
    is_open_ = true;
  }
  Seat& served = seats_.front();
  served.left -= Price(prices[served.party], largest);
}

void DeficitRoundRobin::Charge(int party, double price) {
  seat(party).left -= price;
}

}  // namespace heatkv::server
