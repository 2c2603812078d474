// What a configuration means for a model, before any weight is loaded: the
// model's folder, a schedule for each tier, the size of the pool.
//
// Thread safety: stateless.

#ifndef SERVER_SERVING_PLAN_H_
#define SERVER_SERVING_PLAN_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/api/memory_account.h"
#include "server/config/server_config.h"
#include "server/engine/schedule_book.h"
#include "server/engine/scheduler.h"
#include "server/model_folder.h"

namespace heatkv::server {

// Why a server does not start, by who can mend it.
enum class StartFault { kConfiguration, kModel };

struct ServingPlan {
  ServerConfig config;
  std::vector<std::string> devices;   // all alike; 1 or more
  std::int64_t device_bytes = 0;      // of memory; of the smallest device
  ModelFolder folder;                 // with the ladders that are offered
  std::vector<std::string> left_out;  // see OfferedSizes
  std::shared_ptr<const ScheduleBook> book;
  std::int64_t pool_blocks = 0;  // of each device
  // The model's devices first.
  std::vector<model::MemoryAccount> memory;
};

// For devices with `device_bytes` of memory each.  `devices` and `memory` stay
// empty.  `fault` is set if it fails.
absl::StatusOr<ServingPlan> MakeServingPlan(const ServerConfig& config,
                                            std::int64_t device_bytes,
                                            StartFault* fault);

// The parts of a plan.  The tiers of `config` for the model in `folder`:
absl::StatusOr<std::shared_ptr<const ScheduleBook>> MakeScheduleBook(
    const ServerConfig& config, const ModelFolder& folder);

// and the blocks of its pool.
absl::StatusOr<std::int64_t> CountPoolBlocks(const ServerConfig& config,
                                             std::int64_t device_bytes,
                                             const ModelFolder& folder);

// Where the configuration leaves the size of a GPU's pool open, gives the plan
// one that fits beside everything else in its devices' memory, and returns
// true: the memory has to be accounted for again.  REQUIRES: it has been.
bool FitPool(ServingPlan* plan);

// How the configuration schedules within a pool of `limit_blocks`.
SchedulerOptions SchedulingOf(const ServerConfig& config,
                              std::int64_t limit_blocks);

}  // namespace heatkv::server

#endif  // SERVER_SERVING_PLAN_H_
