// Admission: may one more image start?
//
// A pure function of a snapshot: it decides, the engine executes.  The rule is
// the safe state (cache/safe_state.h): an image starts if it can do its first
// scale now and an order exists in which it and all images in flight can then
// finish.  The sum of their peaks may exceed the pool.
//
// Thread safety: stateless.

#ifndef CACHE_ADMISSION_H_
#define CACHE_ADMISSION_H_

#include <cstdint>
#include <span>

#include "cache/safe_state.h"
#include "cache/trajectory.h"

namespace heatkv::cache {

enum class AdmissionVerdict {
  kAdmit,  // start now
  kWait,   // fits an emptier pool
  kNever,  // does not fit the empty pool
};

struct AdmissionDecision {
  AdmissionVerdict verdict = AdmissionVerdict::kWait;
  // The blocks with which everybody, the candidate included, could finish once
  // it has done its first scale; for kNever its own peak.
  std::int64_t blocks_needed = 0;
  std::int64_t blocks_available = 0;  // the limit

  friend bool operator==(const AdmissionDecision&,
                         const AdmissionDecision&) = default;
};

// REQUIRES: `running` is a safe state within `limit`, or one that a limit that
// was lowered has made unsafe (then nobody is admitted).
AdmissionDecision DecideAdmission(std::int64_t limit,
                                  std::span<const ImageProgress> running,
                                  const Trajectory& candidate);

// The rule that most servers have: the sum of all peaks must fit.  For
// comparison.
AdmissionDecision DecideAdmissionBySumOfPeaks(
    std::int64_t limit, std::span<const ImageProgress> running,
    const Trajectory& candidate);

}  // namespace heatkv::cache

#endif  // CACHE_ADMISSION_H_
