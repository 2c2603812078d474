// The requests whose images wait to start: who may join, and who is next.
//
// Bounded by the number of requests and by the bytes that their images will
// hold at their peaks.  The order, from the outside in:
//   class     the higher of (low 0, normal 1, high 2) first.  A request rises
//   by
//             one class whenever it has waited for `aging`, to the highest at
//             most, so that nobody waits for ever.
//   tenant    within a class tenants take turns by deficit round robin: each
//             image is charged its byte-seconds, and a tenant's share is
//             proportional to its weight.  A tenant without waiting requests
//             keeps no credit.
//   arrival   within class and tenant first come, first served.
// Who is next does not change until an image is taken, somebody joins or leaves
// or rises, so a request that must wait for room is not overtaken by an equal.
//
// Logic and bookkeeping only: no clock, no engine, no model.  Not thread-safe:
// one owner.

#ifndef SERVER_ENGINE_FAIR_QUEUE_H_
#define SERVER_ENGINE_FAIR_QUEUE_H_

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace heatkv::server {

enum class Priority { kLow = 0, kNormal = 1, kHigh = 2 };

struct QueueOptions {
  int max_requests = 64;  // 1 or more
  // Peaks of all images that wait.  Does not keep a request out of an empty
  // queue: alone, it is no queue.
  std::int64_t max_bytes = std::int64_t{16} << 30;
  absl::Duration aging = absl::Seconds(30);  // above 0
  std::map<std::string, double> weights;     // of tenants; others have 1

  friend bool operator==(const QueueOptions&, const QueueOptions&) = default;
};

struct QueuedRequest {
  std::uint64_t number = 0;  // unique
  std::string tenant;
  Priority priority = Priority::kNormal;
  absl::Time arrived;
  int images = 1;                 // that have not started
  std::int64_t image_bytes = 0;   // the peak of one image
  double image_byte_seconds = 0;  // what one image is charged; 0 or more
};

class FairQueue {
 public:
  explicit FairQueue(QueueOptions options);
  ~FairQueue();
  FairQueue(FairQueue&&) noexcept;
  FairQueue& operator=(FairQueue&&) noexcept;

  // From now on; those who wait stay, even above a new bound.
  void SetOptions(QueueOptions options);

  // OK if a request whose images hold `bytes` together may join; else
  // ResourceExhausted, naming both numbers of the bound that is reached.
  absl::Status MayJoin(std::int64_t bytes) const;

  // REQUIRES: images >= 1, and requests join in the order of their arrival.
  void Join(QueuedRequest request);

  // The request whose image is next, or null if none waits (or all are held).
  const QueuedRequest* Next(absl::Time now) const;

  // Charges the tenant of request `number`, which need not be next, one image
  // and takes that image out; with its last image the request leaves.
  // REQUIRES: it waits.
  void TakeImage(std::uint64_t number, absl::Time now);

  // Takes the whole request out; it is charged nothing more.  False if it does
  // not wait.
  bool Remove(std::uint64_t number);

  // Passes a request over, because its client has not read what it got, until
  // it is let go.  No effect if it does not wait.
  void SetHeld(std::uint64_t number, bool held);

  // All who wait in the order in which they would start if nobody came; those
  // who are held, after all others.
  std::vector<const QueuedRequest*> InOrder(absl::Time now) const;

  bool empty() const;
  int size() const;                   // requests
  int images() const;                 // that have not started
  std::int64_t bytes() const;         // their peaks
  absl::Time oldest_arrival() const;  // InfiniteFuture if empty

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_FAIR_QUEUE_H_
