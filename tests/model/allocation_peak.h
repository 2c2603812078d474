// How much memory of the CPU torch's tensors take at once.
//
// Counts what this thread allocates and gives back through torch's allocator
// from construction on; buffers that libraries take elsewhere are not in it.
// Used by one thread, one at a time.

#ifndef TESTS_MODEL_ALLOCATION_PEAK_H_
#define TESTS_MODEL_ALLOCATION_PEAK_H_

#include <c10/util/ThreadLocalDebugInfo.h>

#include <cstdint>
#include <memory>

namespace heatkv::model {

class AllocationPeak {
 public:
  AllocationPeak();

  // Bytes at most at once so far, beyond what there was before.
  std::int64_t bytes() const;

  // Bytes now, beyond what there was before; negative if there are fewer.
  std::int64_t now() const;

 private:
  class Counter;

  std::shared_ptr<Counter> counter_;
  c10::DebugInfoGuard guard_;
};

}  // namespace heatkv::model

#endif  // TESTS_MODEL_ALLOCATION_PEAK_H_
