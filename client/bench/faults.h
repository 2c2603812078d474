// Which requests of a load misbehave, and when: clients that cancel, that read
// slowly, that vanish.  Pure values, drawn from a seed;
// client/bench/stream_run.h acts on them.

#ifndef CLIENT_BENCH_FAULTS_H_
#define CLIENT_BENCH_FAULTS_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"

namespace heatkv::client {

enum class Fault {
  kNone,
  kCancel,  // cancels the call
  kSlow,    // pauses between reads
  kVanish,  // drops the connection without a word
};

// "none", "cancel", ...
const char* FaultName(Fault fault);

// Shares of all requests, 0 to 1 each and together.
struct FaultShares {
  double cancel = 0;
  double slow = 0;
  double vanish = 0;
};

struct FaultPlan {
  // When one who cancels or vanishes leaves; all of them after acceptance.
  enum class Leave {
    kOnceAccepted,  // before it starts, unless it starts at once
    kAfterScales,
    kBetweenImages,  // after some scales if it asks for one image only
  };

  Fault fault = Fault::kNone;
  Leave leave = Leave::kOnceAccepted;
  double position = 0;    // in [0, 1): how far through the scales or images
  bool is_steady = true;  // a slow one: after every event, or one long pause
};

// What a client has seen of its request.
struct StreamPosition {
  bool accepted = false;
  int images = 1;  // asked for
  int scales = 1;  // of each image
  int scales_done = 0;
  int images_done = 0;
  int events = 0;
};

// Whether somebody with this plan leaves now.
bool IsTimeToLeave(const FaultPlan& plan, const StreamPosition& position);

struct SlowPauses {
  absl::Duration steady = absl::Milliseconds(200);  // after every event
  absl::Duration single = absl::Seconds(2);         // once
};

// How long somebody with this plan waits before it reads on; zero for all but
// the slow ones.
absl::Duration PauseBeforeReading(const FaultPlan& plan,
                                  const StreamPosition& position,
                                  const SlowPauses& pauses);

class FaultDraws {
 public:
  // `requests`: how many there will be, so that the shares are met exactly
  // (rounded to whole requests); 0 if that is not known, and each request is
  // drawn for itself.
  FaultDraws(const FaultShares& shares, int requests, std::uint64_t seed);

  FaultPlan At(int index) const;

 private:
  Fault KindAt(int index) const;

  FaultShares shares_;
  std::uint64_t seed_;
  std::vector<Fault> kinds_;  // by index, if the number was known
};

}  // namespace heatkv::client

#endif  // CLIENT_BENCH_FAULTS_H_
