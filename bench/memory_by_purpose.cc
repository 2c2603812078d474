#include "bench/memory_by_purpose.h"

namespace heatkv::server {
namespace {

constexpr double kGiga = 1e9;

std::int64_t AllocatedOutsideArenas(const model::MemoryReport& report) {
  return report.allocated - report.allocated_in_arenas;
}

}  // namespace

std::int64_t BeyondWeightsAndPool(const MeasuredMemory& memory) {
  return memory.now.in_arenas - memory.now.allocated_in_arenas +
         memory.between_steps - memory.loaded.allocated - memory.pool;
}

nlohmann::json ReportMemory(const MeasuredMemory& memory) {
  const std::int64_t work = BeyondWeightsAndPool(memory);
  const std::int64_t reserved = memory.now.peak_reserved;
  const std::int64_t weights = memory.loaded.allocated;
  const std::int64_t arena = memory.now.in_arenas;
  const std::int64_t kept =
      AllocatedOutsideArenas(memory.ready) - weights - memory.pool;
  const std::int64_t libraries = memory.device_used - memory.now.reserved;
  return {
      {"memory_beyond_weights_gb", (memory.images + work) / kGiga},
      {"beyond_weights_and_pool_gb", work / kGiga},
      {"reserved_gb", reserved / kGiga},
      {"reserved_beyond_weights_gb",
       (memory.images + reserved - weights - memory.pool) / kGiga},
      {"reserved_growth_gb", (reserved - memory.ready.reserved) / kGiga},
      {"memory_gb",
       {{"weights", weights / kGiga},
        {"pool", memory.images / kGiga},
        {"pool_allocated", memory.pool / kGiga},
        {"work_arena", arena / kGiga},
        {"kept_when_ready", kept / kGiga},
        {"allocator",
         (reserved - weights - memory.pool - arena - kept) / kGiga},
        {"libraries", libraries / kGiga},
        {"device_used", (reserved + libraries) / kGiga}}},
  };
}

}  // namespace heatkv::server
