// The scheduler of one device: which images start, and which ones do their next
// scale together.
//
// It plans and somebody else executes: the engine with a model and a pool, the
// simulator with a table of costs.  It knows images by their trajectories and
// time by what it is told; it holds no block, no thread, no clock.
//
// One turn is a group of images at the same scale of the same ladder and with
// the same number of branches, at most as many as the model takes in a step of
// that kind (a fixed shape: it does not depend on how many come).  An image
// starts by being in a group at scale 0.  A group is planned only if it fits
// the pool and leaves a safe state (cache/safe_state.h), so there is always a
// next turn while anything runs.
//
// Among the images that may go, the highest class goes first (server/engine/
// fair_queue.h; those in flight rise with age as well), and within a class:
//   latency   the image with the fewest tokens left; images start when nothing
//             of their class is in flight, as many together as a step takes.
//   preview   scales that run in groups before those that run alone, and the
//             lowest of them first, starting images included, so that everybody
//             sees something soon; then the image with the fewest tokens left.
// Equals go in the order in which they started.  An image that has been in
// flight for twice the queue's aging goes before all that is not, so that
// nobody waits for ever in flight either.
//
// Not thread-safe: one owner, the engine thread.

#ifndef SERVER_ENGINE_SCHEDULER_H_
#define SERVER_ENGINE_SCHEDULER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cache/safe_state.h"
#include "cache/trajectory.h"
#include "server/engine/fair_queue.h"

namespace heatkv::server {

enum class SchedulingPolicy { kLatency, kPreview };

enum class AdmissionRule {
  kSafeState,
  kSumOfPeaks,  // for comparison
};

// How many images one step takes at a scale; 1 or more.  Of the model; does not
// depend on load.
using StepCapacity = std::function<int(int ladder, int scale, int branches)>;

struct SchedulerOptions {
  std::int64_t limit_blocks = 0;  // that images may hold together
  int max_running_images = 32;    // 1 or more
  SchedulingPolicy policy = SchedulingPolicy::kLatency;
  AdmissionRule rule = AdmissionRule::kSafeState;
  QueueOptions queue;

  friend bool operator==(const SchedulerOptions&,
                         const SchedulerOptions&) = default;
};

// A tier that a request may run on.
struct TierChoice {
  int tier = 0;
  std::shared_ptr<const cache::Trajectory> trajectory;
};

struct ScheduledRequest {
  std::uint64_t number = 0;
  int ladder = 0;
  int images = 1;
  Priority priority = Priority::kNormal;
  std::string tenant;
  absl::Time arrived;
  double image_byte_seconds = 0;  // on the tier asked for
  // The tier asked for, then those that its client allows instead, by falling
  // budget.  All have the same branches and ladder.
  std::vector<TierChoice> choices;
};

struct ImageRef {
  std::uint64_t request = 0;
  int image = 0;  // its index in the request

  friend auto operator<=>(const ImageRef&, const ImageRef&) = default;
};

struct Turn {
  int ladder = 0;
  int scale = 0;
  int branches = 0;
  // At scale 0, those that start with it included.
  std::vector<ImageRef> group;
};

class Scheduler {
 public:
  Scheduler(SchedulerOptions options, StepCapacity capacity);
  ~Scheduler();

  // From now on.  Images in flight stay: a limit that is too small for them
  // comes into force as they finish.
  void SetOptions(SchedulerOptions options);
  const SchedulerOptions& options() const;

  const FairQueue& queue() const;
  // See FairQueue::SetHeld.
  void SetHeld(std::uint64_t request, bool held);

  // REQUIRES: numbers rise, and the last choice fits the limit alone.
  void Enqueue(ScheduledRequest request);

  // The next turn, or nothing if there is nothing to do.  Images that start
  // are in flight from now on, their requests' tiers are decided (Choice), and
  // tenants are charged.  The caller executes the turn and then reports, for
  // each image of the group, StepDone or RemoveImage or RemoveRequest.
  std::optional<Turn> Next(absl::Time now);

  // The image has done the scale of its turn.  After the last scale it is no
  // longer in flight.
  void StepDone(ImageRef image);
  // Takes an image out of flight.
  void RemoveImage(ImageRef image);
  // Takes a request and all its images out of queue and flight.  No effect if
  // there is no such request.
  void RemoveRequest(std::uint64_t number);

  // The tier of a request of which an image has started.
  const TierChoice& Choice(std::uint64_t request) const;

  // The peak of an image of a request that waits, on the lowest tier that it
  // may still run on.
  std::int64_t LeastPeak(std::uint64_t request) const;

  // The limit, or more while images in flight need more to finish.
  std::int64_t EffectiveLimit() const;

  // Whether an image of a new request like this one would start with the next
  // turn; if not, why, in words.
  bool WouldStartNow(const ScheduledRequest& request, absl::Time now,
                     std::string* reason) const;

  // What is in flight, in the order in which it started.
  struct Flight {
    ImageRef image;
    int ladder = 0;
    cache::ImageProgress progress;
  };
  std::vector<Flight> InFlight() const;
  int running_images() const;
  std::int64_t blocks_held() const;      // between steps
  std::int64_t peak_sum_blocks() const;  // from now to their ends

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_SCHEDULER_H_
