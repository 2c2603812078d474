// What torch's allocator holds of a GPU's memory, for measurements, and how it
// takes it.

#ifndef MODEL_CUDA_MEMORY_REPORT_H_
#define MODEL_CUDA_MEMORY_REPORT_H_

#include <cstdint>
#include <string>

namespace heatkv::model {

// Bytes.  Reserved memory is what the allocator took from the device, allocated
// memory what tensors use of it.  What recordings work in counts as allocated
// only while they are made, but as reserved as long as their arena lives: what
// the device has to have is what is reserved.
struct MemoryReport {
  std::int64_t allocated = 0;
  std::int64_t peak_allocated = 0;
  std::int64_t reserved = 0;
  std::int64_t peak_reserved = 0;
  // Of `reserved` and `allocated`, what is in private pools of the allocator
  // (work_arena.h).
  std::int64_t in_arenas = 0;
  std::int64_t allocated_in_arenas = 0;
  std::int64_t device_allocations = 0;  // times it went to the device, ever
};
MemoryReport ReadMemory(int device);
// Its first number alone, which costs little.
std::int64_t AllocatedMemory(int device);

// Has the allocator take memory in segments that grow, in which pictures of
// many sizes leave fewer gaps than in segments of a size.  To be called before
// any GPU is used; what the operator set in PYTORCH_CUDA_ALLOC_CONF stays.
void TakeMemoryInGrowingSegments();

// From now on peaks are those since now.
void ResetMemoryPeaks(int device);

// Gives back to their devices what is reserved of any and not used.
void ReleaseUnusedMemory();

// "2.11.0".
std::string TorchVersion();

}  // namespace heatkv::model

#endif  // MODEL_CUDA_MEMORY_REPORT_H_
