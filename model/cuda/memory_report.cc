#include "model/cuda/memory_report.h"

#include <c10/core/AllocatorConfig.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <torch/version.h>

namespace heatkv::model {
namespace {

using c10::CachingAllocator::StatType;

constexpr auto kAll = static_cast<std::size_t>(StatType::AGGREGATE);

// As the allocator says both "every pool" and "none of the private ones".
constexpr c10::cuda::MempoolId_t kNoPrivatePool = {0, 0};

void AddArenas(c10::DeviceIndex device, MemoryReport& report) {
  // Of a segment that grows, the size is what is mapped of it.
  const auto snapshot = c10::cuda::CUDACachingAllocator::snapshot(
      /*mempool_id=*/kNoPrivatePool, /*include_traces=*/false);
  for (const auto& segment : snapshot.segments) {
    if (segment.device != device) continue;
    if (segment.owner_private_pool_id == kNoPrivatePool) continue;
    report.in_arenas += static_cast<std::int64_t>(segment.total_size);
    report.allocated_in_arenas +=
        static_cast<std::int64_t>(segment.allocated_size);
  }
}

}  // namespace

MemoryReport ReadMemory(int device) {
  const auto index = static_cast<c10::DeviceIndex>(device);
  const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(index);
  MemoryReport report = {.allocated = stats.allocated_bytes[kAll].current,
                         .peak_allocated = stats.allocated_bytes[kAll].peak,
                         .reserved = stats.reserved_bytes[kAll].current,
                         .peak_reserved = stats.reserved_bytes[kAll].peak,
                         .device_allocations = stats.num_device_alloc};
  AddArenas(index, report);
  return report;
}

std::int64_t AllocatedMemory(int device) {
  return c10::cuda::CUDACachingAllocator::getDeviceStats(
             static_cast<c10::DeviceIndex>(device))
      .allocated_bytes[kAll]
      .current;
}

void TakeMemoryInGrowingSegments() {
  if (c10::CachingAllocator::getAllocatorSettings().empty()) {
    c10::CachingAllocator::setAllocatorSettings("expandable_segments:True");
  }
}

void ResetMemoryPeaks(int device) {
  c10::cuda::CUDACachingAllocator::resetPeakStats(
      static_cast<c10::DeviceIndex>(device));
}

void ReleaseUnusedMemory() { c10::cuda::CUDACachingAllocator::emptyCache(); }

std::string TorchVersion() { return TORCH_VERSION; }

}  // namespace heatkv::model
