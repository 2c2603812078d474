#include "server/engine/engine_state.h"

#include <set>

namespace heatkv::server {

EngineStats EngineState::Stats(absl::Time now) const {
  EngineStats all;
  all.geometry = schedules->geometry();
  all.head_blocks.assign(all.geometry.heads_in_model(), 0);
  all.model_is_well = Health().ok();
  std::set<std::uint64_t> running;
  for (const OfDevice& device : devices) {
    DeviceStats stats = device.stats;
    stats.limit_blocks = scheduler.options().limit_blocks;
    stats.model_is_well = device.health.ok();
    all.capacity_blocks += stats.capacity_blocks;
    all.limit_blocks += stats.limit_blocks;
    all.effective_limit_blocks += stats.effective_limit_blocks;
    all.used_blocks += stats.used_blocks;
    all.high_water_blocks += stats.high_water_blocks;
    all.peak_sum_blocks += stats.peak_sum_blocks;
    for (std::size_t i = 0; i < all.head_blocks.size(); ++i) {
      all.head_blocks[i] += stats.head_blocks[i];
    }
    all.plan_error_blocks += stats.plan_error_blocks;
    all.running_images += stats.running_images;
    running.insert(device.running_requests.begin(),
                   device.running_requests.end());
    if (devices.size() > 1) all.devices.push_back(std::move(stats));
  }
  all.running_requests = static_cast<int>(running.size());
  all.waiting_requests = scheduler.queue().size();
  all.waiting_bytes = scheduler.queue().bytes();
  if (!scheduler.queue().empty()) {
    all.oldest_wait = now - scheduler.queue().oldest_arrival();
  }
  all.draining = draining;
  return all;
}

}  // namespace heatkv::server
