// The scheduler: one queue, and one device or several alike.  It says which
// images start on which device, and which ones do their next scale together.
//
// It plans and somebody else executes: the engine with models and pools, the
// simulator with a table of costs.  It knows images by their trajectories and
// time by what it is told; it holds no block, no thread, no clock.
//
// One turn of a device is a group of images at the same scale of the same
// ladder and with the same number of branches, at most as many as the model
// takes in a step of that kind (a fixed shape: it does not depend on how many
// come).  An image starts by being in a group at scale 0, and stays on its
// device to its end.  A group is planned only if it fits the pool and leaves a
// safe state (cache/safe_state.h), so there is always a next turn while
// anything runs.
//
// Among the images that may go on a device, the highest class goes first
// (server/engine/fair_queue.h; those in flight rise with age as well), and
// within a class:
//   latency   the image with the fewest tokens left; images start when nothing
//             of their class is in flight, as many together as a step takes.
//   preview   scales that run in groups before those that run alone, and the
//             lowest of them first, starting images included, so that everybody
//             sees something soon; then the image with the fewest tokens left.
// Equals go in the order in which they started.  An image that has been in
// flight for twice the queue's aging goes before all that is not, so that
// nobody waits for ever in flight either.
//
// Several devices share the queue, so requests start in the order in which they
// would on one large device.  The image that is next goes to the device with
// the most free blocks (its limit minus what the images in flight there may
// each still come to hold), among those that are well and would take it now or
// after their turn: a device that asks for its turn never takes an image that
// one with more free blocks would take.  If that one has nothing to do, it is
// given the image at once; else the image waits for its next turn.  Under the
// latency policy a device takes no more than its share of those who wait.
//
// Not thread-safe: one owner, or guarded by its lock.

#ifndef SERVER_ENGINE_SCHEDULER_H_
#define SERVER_ENGINE_SCHEDULER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cache/safe_state.h"
#include "cache/trajectory.h"
#include "server/engine/fair_queue.h"
#include "server/engine/scheduled_request.h"
#include "server/engine/scheduler_options.h"

namespace heatkv::server {

class Scheduler {
 public:
  // Devices are numbered from 0.
  Scheduler(SchedulerOptions options, StepCapacity capacity, int devices = 1);
  ~Scheduler();

  int devices() const;

  // From now on.  Images in flight stay: a limit that is too small for them
  // comes into force as they finish.
  void SetOptions(SchedulerOptions options);
  const SchedulerOptions& options() const;

  // A device that is not well starts no image while another one is; what is in
  // flight there goes on.  All are well to begin with.
  void SetWell(int device, bool is_well);

  const FairQueue& queue() const;
  // Starts no further image of a request, on this device or on any, until it is
  // let go.  The queue passes over who is held on every device that takes
  // images (see FairQueue::SetHeld).
  void SetHeld(std::uint64_t request, bool held);
  void SetHeld(std::uint64_t request, bool held, int device);

  // REQUIRES: numbers rise, and the last choice fits the limit alone.
  void Enqueue(ScheduledRequest request);

  // The next turn of a device, or nothing if there is nothing to do; then the
  // device counts as idle until it asks again.  Images that start are in flight
  // from now on, their requests' tiers are decided (Choice), and tenants are
  // charged; some may have started on idle devices, which have work then.  The
  // caller executes the turn and then reports, for each image of the group,
  // StepDone or RemoveImage or RemoveRequest.
  std::optional<Turn> Next(absl::Time now, int device = 0);

  // The image has done the scale of its turn.  After the last scale it is no
  // longer in flight.
  void StepDone(ImageRef image);
  // Takes an image out of flight.
  void RemoveImage(ImageRef image);
  // Takes a request and all its images out of queue and flight.  No effect if
  // there is no such request.
  void RemoveRequest(std::uint64_t number);
  // The same, but leaves what is in flight on other devices.
  void RemoveRequestFrom(std::uint64_t number, int device);
  // Whether an image of the request waits or is in flight.
  bool Has(std::uint64_t number) const;

  // The tier of a request of which an image has started.
  const TierChoice& Choice(std::uint64_t request) const;

  // The peak of an image of a request that waits, on the lowest tier that it
  // may still run on.
  std::int64_t LeastPeak(std::uint64_t request) const;

  // The limit of a device, or more while images in flight need more to finish.
  std::int64_t EffectiveLimit(int device = 0) const;
  // What no image in flight on a device may come to hold; below 0 if they do
  // not peak together.  The measure of placement.
  std::int64_t FreeBlocks(int device) const;

  // Whether an image of a new request like this one would start with the next
  // turn of some device; if not, why, in words.
  bool WouldStartNow(const ScheduledRequest& request, absl::Time now,
                     std::string* reason) const;

  // What is in flight: device by device, in the order in which it started.
  struct Flight {
    ImageRef image;
    int ladder = 0;
    cache::ImageProgress progress;
    int device = 0;
  };
  std::vector<Flight> InFlight() const;
  // On all devices together.
  int running_images() const;
  std::int64_t blocks_held() const;      // between steps
  std::int64_t peak_sum_blocks() const;  // from now to their ends

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_SCHEDULER_H_
