// Who holds what of the pool, between two steps.  A plain value.

#ifndef SERVER_ENGINE_POOL_SNAPSHOT_H_
#define SERVER_ENGINE_POOL_SNAPSHOT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/engine_stats.h"

namespace heatkv::server {

// One image in flight.
struct ImageSnapshot {
  std::uint64_t request = 0;
  std::string request_id;
  std::string tenant;
  std::string tier;  // granted
  int image = 0;     // its index in the request
  int device = 0;    // its number in the engine
  int scales_done = 0;
  int scales = 0;
  std::int64_t held_blocks = 0;
  std::int64_t peak_blocks = 0;  // from now to its end
  // [layer * heads + head], both branches; empty unless asked for.
  std::vector<std::int64_t> head_blocks;
};

struct PoolSnapshot {
  absl::Time time;
  EngineStats stats;
  // In the order in which their requests arrived.
  std::vector<ImageSnapshot> images;
};

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_POOL_SNAPSHOT_H_
