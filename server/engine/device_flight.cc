#include "server/engine/device_flight.h"

#include <algorithm>

#include "cache/ladder.h"

namespace heatkv::server {
namespace {

std::int64_t AllTokens(const cache::Trajectory& trajectory) {
  const cache::ScaleLadder& ladder = trajectory.schedule()->ladder();
  std::int64_t tokens = 0;
  for (int s = 0; s < ladder.num_scales(); ++s) tokens += ladder.tokens(s);
  return tokens * trajectory.branches();
}

}  // namespace

int DeviceFlight::Find(const ImageRef& ref) const {
  for (std::size_t i = 0; i < images_.size(); ++i) {
    if (images_[i].ref == ref) return static_cast<int>(i);
  }
  return -1;
}

bool DeviceFlight::AreAlike(int one, int other) const {
  return one >= 0 && progress_[one].trajectory == progress_[other].trajectory &&
         progress_[one].next_scale == progress_[other].next_scale;
}

void DeviceFlight::Start(const ScheduledRequest* asked, int image,
                         const cache::Trajectory* trajectory, absl::Time now) {
  images_.push_back({.ref = {asked->number, image},
                     .asked = asked,
                     .started = now,
                     .tokens_left = AllTokens(*trajectory)});
  progress_.push_back({trajectory, 0});
  peak_sum_ += progress_.back().peak_blocks();
}

void DeviceFlight::TakeBackStart() {
  peak_sum_ -= progress_.back().peak_blocks();
  images_.pop_back();
  progress_.pop_back();
}

void DeviceFlight::Drop(int index) {
  held_ -= progress_[index].blocks_held();
  peak_sum_ -= progress_[index].peak_blocks();
  if (images_[index].in_turn) --in_turn_;
  images_.erase(images_.begin() + index);
  progress_.erase(progress_.begin() + index);
}

void DeviceFlight::BeginTurn(std::span<const int> group) {
  for (const int index : group) images_[index].in_turn = true;
  in_turn_ = static_cast<int>(group.size());
}

bool DeviceFlight::StepDone(int index) {
  cache::ImageProgress& progress = progress_[index];
  const cache::ScaleLadder& ladder = progress.trajectory->schedule()->ladder();
  held_ -= progress.blocks_held();
  peak_sum_ -= progress.peak_blocks();
  images_[index].tokens_left -=
      std::int64_t{ladder.tokens(progress.next_scale)} *
      progress.trajectory->branches();
  ++progress.next_scale;
  held_ += progress.blocks_held();
  peak_sum_ += progress.peak_blocks();
  images_[index].in_turn = false;
  --in_turn_;
  if (progress.next_scale < ladder.num_scales()) return false;
  Drop(index);
  return true;
}

std::int64_t DeviceFlight::EffectiveLimit(std::int64_t limit) const {
  if (!is_lowered_) return limit;
  return std::max(limit, cache::SafeCapacity(progress_));
}

std::int64_t DeviceFlight::SettleLimit(std::int64_t limit) {
  const std::int64_t effective = EffectiveLimit(limit);
  is_lowered_ = effective > limit;
  return effective;
}

bool DeviceFlight::MayStep(std::int64_t limit,
                           std::span<const int> group) const {
  // No order of steps holds more than the sum of peaks.
  if (peak_sum_ <= limit) return true;
  return cache::MayStep(limit, progress_, group);
}

bool DeviceFlight::CouldTakeAfterTurn(
    std::int64_t limit, const cache::Trajectory& trajectory) const {
  if (peak_sum_ + trajectory.peak_blocks() <= limit) return true;
  std::vector<cache::ImageProgress> then;
  for (std::size_t i = 0; i < progress_.size(); ++i) {
    cache::ImageProgress progress = progress_[i];
    if (images_[i].in_turn) ++progress.next_scale;
    if (progress.next_scale <
        progress.trajectory->schedule()->ladder().num_scales()) {
      then.push_back(progress);
    }
  }
  const int index = static_cast<int>(then.size());
  then.push_back({&trajectory, 0});
  return cache::MayStep(limit, then, {&index, 1});
}

}  // namespace heatkv::server
