// Admission: may one more image start?
//
// A pure function of a snapshot.  It decides; the engine then makes the
// Reservation, which cannot fail if the snapshot was true.
//
// The rule now is the sum of peaks: an image starts if the blocks that it and
// all running images may still come to hold, each at its own peak, fit the pool
// together.  The snapshot already says what each image holds, so that a rule
// which lets the sum of peaks pass the capacity (some order exists in which all
// can finish) fits the same signature.
//
// Thread safety: stateless.

#ifndef CACHE_ADMISSION_H_
#define CACHE_ADMISSION_H_

#include <cstdint>
#include <span>

namespace heatkv::cache {

// What one running image has and may still come to have.
struct RunningImage {
  std::int64_t blocks_held = 0;
  // From now to its end (Trajectory::peak_blocks_from).
  std::int64_t peak_blocks = 0;
};

enum class AdmissionVerdict {
  kAdmit,  // start now
  kWait,   // fits an emptier pool
  kNever,  // does not fit the empty pool
};

struct AdmissionDecision {
  AdmissionVerdict verdict = AdmissionVerdict::kWait;
  std::int64_t blocks_needed = 0;  // the candidate's peak
  // What it was compared with: the unpromised blocks, or, for kNever, the
  // capacity.
  std::int64_t blocks_available = 0;

  friend bool operator==(const AdmissionDecision&,
                         const AdmissionDecision&) = default;
};

// `candidate_peak_blocks` is the peak of the image (or the sum of the images
// that must start together) that wants to start.  CHECKs that no number is
// negative and that no image holds more than its peak.
AdmissionDecision DecideAdmission(std::int64_t capacity_blocks,
                                  std::span<const RunningImage> running,
                                  std::int64_t candidate_peak_blocks);

}  // namespace heatkv::cache

#endif  // CACHE_ADMISSION_H_
