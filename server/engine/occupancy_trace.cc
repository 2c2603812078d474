#include "server/engine/occupancy_trace.h"

namespace heatkv::server {

void OccupancyTrace::Add(absl::Duration begin, absl::Duration end,
                         const Occupancy& occupancy) {
  if (begin >= end) return;
  end_ = end;
  while (end > width_ * most_intervals_) {
    std::vector<Sum> halves((sums_.size() + 1) / 2);
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      Sum& sum = halves[i / 2];
      sum.seconds += sums_[i].seconds;
      sum.used += sums_[i].used;
      sum.running += sums_[i].running;
      sum.waiting += sums_[i].waiting;
      sum.most_used = std::max(sum.most_used, sums_[i].most_used);
    }
    sums_ = std::move(halves);
    width_ *= 2;
  }
  const double width = absl::ToDoubleSeconds(width_);
  double from = absl::ToDoubleSeconds(begin);
  const double to = absl::ToDoubleSeconds(end);
  // Rounding may put the very end into one interval more.
  const auto index_of = [&](double time) {
    return std::min(static_cast<std::size_t>(time / width),
                    static_cast<std::size_t>(most_intervals_ - 1));
  };
  for (std::size_t i = index_of(from);; ++i) {
    if (i >= sums_.size()) sums_.resize(i + 1);
    Sum& sum = sums_[i];
    const bool is_last = i >= index_of(to);
    const double until = is_last ? to : width * static_cast<double>(i + 1);
    const double seconds = std::max(until - from, 0.0);
    sum.seconds += seconds;
    sum.used += seconds * static_cast<double>(occupancy.used_blocks);
    sum.running += seconds * occupancy.running_images;
    sum.waiting += seconds * occupancy.waiting_images;
    sum.most_used = std::max(sum.most_used, occupancy.used_blocks);
    if (is_last) return;
    from = until;
  }
}

std::vector<OccupancyTrace::Interval> OccupancyTrace::Intervals() const {
  std::vector<Interval> intervals;
  for (const Sum& sum : sums_) {
    Interval interval;
    if (sum.seconds > 0) {
      interval.used_blocks = sum.used / sum.seconds;
      interval.running_images = sum.running / sum.seconds;
      interval.waiting_images = sum.waiting / sum.seconds;
    }
    interval.most_used_blocks = sum.most_used;
    intervals.push_back(interval);
  }
  return intervals;
}

}  // namespace heatkv::server
