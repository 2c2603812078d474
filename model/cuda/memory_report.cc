#include "model/cuda/memory_report.h"

#include <c10/core/AllocatorConfig.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <torch/version.h>

namespace heatkv::model {
namespace {

using c10::CachingAllocator::StatType;

constexpr auto kAll = static_cast<std::size_t>(StatType::AGGREGATE);

}  // namespace

MemoryReport ReadMemory(int device) {
  const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(
      static_cast<c10::DeviceIndex>(device));
  return {.allocated = stats.allocated_bytes[kAll].current,
          .peak_allocated = stats.allocated_bytes[kAll].peak,
          .reserved = stats.reserved_bytes[kAll].current,
          .peak_reserved = stats.reserved_bytes[kAll].peak,
          .device_allocations = stats.num_device_alloc};
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
