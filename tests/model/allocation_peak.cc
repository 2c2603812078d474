#include "tests/model/allocation_peak.h"

#include <c10/core/Allocator.h>

#include <algorithm>

namespace heatkv::model {

class AllocationPeak::Counter : public c10::MemoryReportingInfoBase {
 public:
  std::int64_t peak() const { return peak_; }
  std::int64_t now() const { return now_; }

  void reportMemoryUsage(void* /*ptr*/, std::int64_t alloc_size,
                         std::size_t /*total_allocated*/,
                         std::size_t /*total_reserved*/,
                         c10::Device /*device*/) override {
    now_ += alloc_size;  // negative where memory is given back
    peak_ = std::max(peak_, now_);
  }
  bool memoryProfilingEnabled() const override { return true; }

 private:
  std::int64_t now_ = 0;
  std::int64_t peak_ = 0;
};

AllocationPeak::AllocationPeak()
    : counter_(std::make_shared<Counter>()),
      guard_(c10::DebugInfoKind::PROFILER_STATE, counter_) {}

std::int64_t AllocationPeak::bytes() const { return counter_->peak(); }

std::int64_t AllocationPeak::now() const { return counter_->now(); }

}  // namespace heatkv::model
