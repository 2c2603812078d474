// A picture of the engine between two steps: how many bytes every head holds,
// how full pools and the waiting line are.  A plain value.

#ifndef SERVER_ENGINE_ENGINE_STATS_H_
#define SERVER_ENGINE_ENGINE_STATS_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cache/geometry.h"

namespace heatkv::server {

// The pool of a device, or of several together.
struct PoolStats {
  // In blocks.
  std::int64_t capacity_blocks = 0;  // allocated
  std::int64_t limit_blocks = 0;     // that the configuration grants
  // That is in force: more than the limit while images that started under a
  // larger one need it.
  std::int64_t effective_limit_blocks = 0;
  std::int64_t used_blocks = 0;
  std::int64_t high_water_blocks = 0;
  // What the images in flight may each still come to hold, added up; may exceed
  // the limit.
  std::int64_t peak_sum_blocks = 0;

  // [layer * heads + head], all images and branches; they add up to
  // used_blocks.
  std::vector<std::int64_t> head_blocks;

  // Used minus planned by the trajectories of the running images.  Never
  // anything but 0.
  std::int64_t plan_error_blocks = 0;

  int running_images = 0;
  bool model_is_well = true;  // of several: one of them

  std::int64_t free_blocks() const {
    return std::max<std::int64_t>(effective_limit_blocks - used_blocks, 0);
  }
};

struct DeviceStats : PoolStats {
  std::string device;  // "cuda:0"
};

// Of all devices together.
struct EngineStats : PoolStats {
  cache::CacheGeometry geometry;
  int running_requests = 0;
  int waiting_requests = 0;
  std::int64_t waiting_bytes = 0;  // peaks of the images that wait
  absl::Duration oldest_wait;
  bool draining = false;

  // Each of several devices; empty if there is but one.
  std::vector<DeviceStats> devices;

  std::int64_t bytes(std::int64_t blocks) const {
    return blocks * geometry.block_bytes();
  }
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_ENGINE_STATS_H_
