#include "server/serving_plan.h"

#include <unistd.h>

#include <utility>

#include "base/status_macros.h"
#include "calibration/schedule_file.h"
#include "server/config/capacity.h"

namespace heatkv::server {
namespace {

std::int64_t MachineBytes() {
  return static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) *
         sysconf(_SC_PAGESIZE);
}

}  // namespace

absl::StatusOr<ServingPlan> MakeServingPlan(const ServerConfig& config,
                                            StartFault* fault) {
  *fault = StartFault::kConfiguration;
  RETURN_IF_ERROR(Validate(config));
  *fault = StartFault::kModel;
  ASSIGN_OR_RETURN(ModelFolder folder, OpenModelFolder(config.model));
  *fault = StartFault::kConfiguration;
  ASSIGN_OR_RETURN(std::shared_ptr<const ScheduleBook> book,
                   MakeScheduleBook(config, folder));
  ASSIGN_OR_RETURN(const std::int64_t pool_blocks,
                   CountPoolBlocks(config, folder));
  return ServingPlan{config, std::move(folder), std::move(book), pool_blocks};
}

absl::StatusOr<std::shared_ptr<const ScheduleBook>> MakeScheduleBook(
    const ServerConfig& config, const ModelFolder& folder) {
  ASSIGN_OR_RETURN(
      ScheduleBook book,
      ScheduleBook::Create(
          folder.spec, GeometryOf(folder.spec, config.cache_dtype),
          folder.profile.has_value() ? &folder.profile->ranking : nullptr,
          config.tiers, calibration::ScheduleSha256));
  return std::make_shared<const ScheduleBook>(std::move(book));
}

absl::StatusOr<std::int64_t> CountPoolBlocks(const ServerConfig& config,
                                             const ModelFolder& folder) {
  return PoolBlocks(config.pool, MachineBytes(),
                    GeometryOf(folder.spec, config.cache_dtype));
}

SchedulerOptions SchedulingOf(const ServerConfig& config,
                              std::int64_t limit_blocks) {
  SchedulerOptions options;
  options.limit_blocks = limit_blocks;
  options.max_running_images = config.max_running_images;
  options.policy = config.policy;
  options.queue.max_requests = config.max_queued_requests;
  options.queue.max_bytes = config.max_queued_bytes;
  options.queue.aging = config.aging;
  options.queue.weights = config.tenants;
  return options;
}

}  // namespace heatkv::server
