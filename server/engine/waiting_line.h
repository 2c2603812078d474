// The requests that wait for room, first come first served, bounded by their
// number and by the bytes that their images will hold at their peaks.
//
// Holds what the engine puts in and decides only who may join; the engine
// decides who leaves.  Not thread-safe: guarded by the engine's lock.

#ifndef SERVER_ENGINE_WAITING_LINE_H_
#define SERVER_ENGINE_WAITING_LINE_H_

#include <cstdint>
#include <deque>
#include <memory>

#include "absl/status/status.h"
#include "server/engine/running_request.h"

namespace heatkv::server {

class WaitingLine {
 public:
  WaitingLine(int max_requests, std::int64_t max_bytes)
      : max_requests_(max_requests), max_bytes_(max_bytes) {}

  // OK if a request whose images hold `bytes` together may join; else
  // ResourceExhausted, naming both numbers.  The byte bound does not keep a
  // request out of an empty line: alone, it is no queue.
  absl::Status MayJoin(std::int64_t bytes) const;

  void Join(std::shared_ptr<RunningRequest> request);

  // REQUIRES: !empty().
  const std::shared_ptr<RunningRequest>& front() const {
    return requests_.front();
  }
  std::shared_ptr<RunningRequest> PopFront();

  // Takes out every request for which `leaves` is true, in order.
  template <typename Predicate>
  std::deque<std::shared_ptr<RunningRequest>> RemoveIf(Predicate leaves) {
    std::deque<std::shared_ptr<RunningRequest>> removed, kept;
    for (auto& request : requests_) {
      (leaves(*request) ? removed : kept).push_back(std::move(request));
    }
    requests_ = std::move(kept);
    for (const auto& request : removed) Subtract(*request);
    return removed;
  }

  const std::deque<std::shared_ptr<RunningRequest>>& requests() const {
    return requests_;
  }
  bool empty() const { return requests_.empty(); }
  int size() const { return static_cast<int>(requests_.size()); }
  int images() const { return images_; }
  std::int64_t bytes() const { return bytes_; }

 private:
  void Subtract(const RunningRequest& request);

  int max_requests_;
  std::int64_t max_bytes_;
  std::deque<std::shared_ptr<RunningRequest>> requests_;
  int images_ = 0;
  std::int64_t bytes_ = 0;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_WAITING_LINE_H_
