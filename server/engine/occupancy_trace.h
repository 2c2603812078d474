// What a device held and how many images ran and waited, over time, in a fixed
// number of equal intervals however long it was: when time runs out of the
// last interval, intervals are merged in pairs.  For plots and averages.
//
// A value; not thread-safe.

#ifndef SERVER_ENGINE_OCCUPANCY_TRACE_H_
#define SERVER_ENGINE_OCCUPANCY_TRACE_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"

namespace heatkv::server {

// What was constant for a while.
struct Occupancy {
  std::int64_t used_blocks = 0;
  int running_images = 0;
  int waiting_images = 0;
};

class OccupancyTrace {
 public:
  // One interval: means over time, and the greatest number of blocks.
  struct Interval {
    double used_blocks = 0;
    std::int64_t most_used_blocks = 0;
    double running_images = 0;
    double waiting_images = 0;
  };

  // At most `intervals` of them, 2 or more, even.
  explicit OccupancyTrace(int intervals = 240) : most_intervals_(intervals) {}

  // REQUIRES: each call begins where the one before ended; begin <= end.
  void Add(absl::Duration begin, absl::Duration end,
           const Occupancy& occupancy);

  // Of all time together.
  absl::Duration length() const { return end_; }
  absl::Duration interval_length() const { return width_; }
  // The last one may be shorter than the others.
  std::vector<Interval> Intervals() const;

 private:
  struct Sum {
    double seconds = 0;
    double used = 0;  // times seconds
    double running = 0;
    double waiting = 0;
    std::int64_t most_used = 0;
  };

  int most_intervals_;
  absl::Duration width_ = absl::Microseconds(100);
  absl::Duration end_;
  std::vector<Sum> sums_;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_OCCUPANCY_TRACE_H_
