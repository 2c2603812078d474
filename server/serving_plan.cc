#include "server/serving_plan.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "calibration/schedule_file.h"
#include "server/config/capacity.h"
#include "server/offered_sizes.h"

namespace heatkv::server {
namespace {

absl::StatusOr<ModelFolder> OpenModel(const ServerConfig& config) {
  const std::filesystem::path folder = FindModelFolder(config.model);
  if (config.random_weights.has_value()) {
    return OpenModelWithRandomWeights(folder, *config.random_weights);
  }
  return OpenModelFolder(folder);
}

}  // namespace

absl::StatusOr<ServingPlan> MakeServingPlan(const ServerConfig& config,
                                            std::int64_t device_bytes,
                                            StartFault* fault) {
  *fault = StartFault::kConfiguration;
  RETURN_IF_ERROR(Validate(config));
  *fault = StartFault::kModel;
  ASSIGN_OR_RETURN(ModelFolder folder, OpenModel(config));
  *fault = StartFault::kConfiguration;
  ASSIGN_OR_RETURN(OfferedSizes offered,
                   OfferSizes(folder.spec, config.tiers, config.pixel_classes));
  folder.spec.ladders = std::move(offered.ladders);
  ASSIGN_OR_RETURN(std::shared_ptr<const ScheduleBook> book,
                   MakeScheduleBook(config, folder));
  ASSIGN_OR_RETURN(const std::int64_t pool_blocks,
                   CountPoolBlocks(config, device_bytes, folder));
  return ServingPlan{.config = config,
                     .devices = {},
                     .device_bytes = device_bytes,
                     .folder = std::move(folder),
                     .left_out = std::move(offered.left_out),
                     .book = std::move(book),
                     .pool_blocks = pool_blocks,
                     .memory = {}};
}

absl::StatusOr<std::shared_ptr<const ScheduleBook>> MakeScheduleBook(
    const ServerConfig& config, const ModelFolder& folder) {
  ASSIGN_OR_RETURN(
      ScheduleBook book,
      ScheduleBook::Create(
          folder.spec, GeometryOf(folder.spec, config.cache_dtype_in_use()),
          folder.ranking(), config.tiers, calibration::ScheduleSha256));
  return std::make_shared<const ScheduleBook>(std::move(book));
}

absl::StatusOr<std::int64_t> CountPoolBlocks(const ServerConfig& config,
                                             std::int64_t device_bytes,
                                             const ModelFolder& folder) {
  return PoolBlocks(config.pool, device_bytes,
                    GeometryOf(folder.spec, config.cache_dtype_in_use()));
}

bool FitPool(ServingPlan* plan) {
  const ServerConfig& config = plan->config;
  if (!config.pool.is_automatic() || !config.is_on_gpu()) return false;
  HEATKV_CHECK_GE(plan->memory.size(), plan->devices.size());
  std::int64_t left = std::numeric_limits<std::int64_t>::max();
  for (std::size_t i = 0; i < plan->devices.size(); ++i) {
    left = std::min(left, plan->memory[i].left());
  }
  left += plan->pool_blocks * plan->book->geometry().block_bytes();
  plan->pool_blocks =
      AutomaticPoolBlocks(plan->folder.spec, *plan->book, config.default_tier,
                          config.max_running_images, left, plan->pool_blocks);
  return true;
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
