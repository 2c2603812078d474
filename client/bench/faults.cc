#include "client/bench/faults.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "client/bench/draws.h"

namespace heatkv::client {
namespace {

using Leave = FaultPlan::Leave;

// Events of an image before which a single long pause may begin.
constexpr int kPauseWithinEvents = 8;

// 1 to `most`.
int Target(double position, int most) {
  return 1 + static_cast<int>(position * std::max(most, 1));
}

}  // namespace

const char* FaultName(Fault fault) {
  switch (fault) {
    case Fault::kNone:
      return "none";
    case Fault::kCancel:
      return "cancel";
    case Fault::kSlow:
      return "slow";
    case Fault::kVanish:
      return "vanish";
  }
  return "none";
}

bool IsTimeToLeave(const FaultPlan& plan, const StreamPosition& position) {
  if (plan.fault != Fault::kCancel && plan.fault != Fault::kVanish) {
    return false;
  }
  if (!position.accepted) return false;
  if (plan.leave == Leave::kOnceAccepted) return true;
  if (plan.leave == Leave::kBetweenImages && position.images > 1) {
    return position.images_done >= Target(plan.position, position.images - 1);
  }
  return position.scales_done >=
         Target(plan.position, position.images * position.scales);
}

absl::Duration PauseBeforeReading(const FaultPlan& plan,
                                  const StreamPosition& position,
                                  const SlowPauses& pauses) {
  if (plan.fault != Fault::kSlow) return absl::ZeroDuration();
  if (plan.is_steady) return pauses.steady;
  return position.events == Target(plan.position, kPauseWithinEvents)
             ? pauses.single
             : absl::ZeroDuration();
}

FaultDraws::FaultDraws(const FaultShares& shares, int requests,
                       std::uint64_t seed)
    : shares_(shares), seed_(seed), kinds_(requests, Fault::kNone) {
  int next = 0;
  const auto fill = [&](double share, Fault fault) {
    const int count = static_cast<int>(std::lround(share * requests));
    for (int i = 0; i < count && next < requests; ++i) kinds_[next++] = fault;
  };
  fill(shares.cancel, Fault::kCancel);
  fill(shares.slow, Fault::kSlow);
  fill(shares.vanish, Fault::kVanish);
  Draws draws(seed, Purpose::kFaultKind);
  for (int i = requests - 1; i > 0; --i) {
    std::swap(kinds_[i], kinds_[draws.NextIndex(i + 1)]);
  }
}

Fault FaultDraws::KindAt(int index) const {
  if (!kinds_.empty()) return kinds_[index];
  const double x = Draws(seed_, Purpose::kFaultKind, index + 1).NextUnit();
  if (x < shares_.cancel) return Fault::kCancel;
  if (x < shares_.cancel + shares_.slow) return Fault::kSlow;
  if (x < shares_.cancel + shares_.slow + shares_.vanish) return Fault::kVanish;
  return Fault::kNone;
}

FaultPlan FaultDraws::At(int index) const {
  FaultPlan plan;
  plan.fault = KindAt(index);
  Draws draws(seed_, Purpose::kFaultPoint, index);
  const double leave = draws.NextUnit();
  plan.leave = leave < 0.25   ? Leave::kOnceAccepted
               : leave < 0.75 ? Leave::kAfterScales
                              : Leave::kBetweenImages;
  plan.position = draws.NextUnit();
  plan.is_steady = draws.NextUnit() < 0.5;
  return plan;
}

}  // namespace heatkv::client
