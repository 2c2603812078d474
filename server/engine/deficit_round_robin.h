// Deficit round robin (Shreedhar and Varghese, 1995): who is next among parties
// that share something in proportion to their weights, although what each of
// them takes at a time costs differently.
//
// Parties are visited in turn.  A visit adds a quantum to what a party may
// spend, its weight times the largest price among those who want something, and
// then it is served for as long as it can pay.  What it has left it keeps for
// its next visit.  Rounds in which nobody can pay are skipped in one go, so a
// decision takes one look at each party, whatever the weights.
//
// A value: copies go on independently.  Not thread-safe.

#ifndef SERVER_ENGINE_DEFICIT_ROUND_ROBIN_H_
#define SERVER_ENGINE_DEFICIT_ROUND_ROBIN_H_

#include <span>
#include <vector>

namespace heatkv::server {

class DeficitRoundRobin {
 public:
  // `party` is a small index that is not in the round; it is visited after all
  // who are, and starts with nothing.  CHECKs weight > 0.
  void Join(int party, double weight);
  // It loses what it had left, and its debts.  REQUIRES: it is in the round.
  void Leave(int party);
  // From the next visit on.  REQUIRES: it is in the round.
  void SetWeight(int party, double weight);

  // Who is next, or -1 if nobody wants anything.  prices[p] is what party p
  // would take next; negative if it wants nothing now, and then it is not
  // visited.  A price of 0 counts as the largest one (as 1 if all are 0), so
  // that what costs nothing takes turns too.
  int Next(std::span<const double> prices) const;

  // Makes the visits up to Next(prices), which pays.  REQUIRES: there is one.
  void Serve(std::span<const double> prices);

  // `party` pays although it was not its turn; its next ones come later.
  void Charge(int party, double price);

 private:
  struct Seat {
    int party;
    double weight;
    double left;  // negative: debts
  };
  // The seat of the next one, and how often it is visited until it can pay.
  struct Visits {
    int seat = -1;
    double rounds = 0;
  };

  Seat& seat(int party);
  Visits Decide(std::span<const double> prices, double largest) const;

  std::vector<Seat> seats_;  // in the order of visits
  // The first seat is being visited: it has got its quantum.
  bool is_open_ = false;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_DEFICIT_ROUND_ROBIN_H_
