#include "cache/admission.h"

#include "base/check.h"

namespace heatkv::cache {

AdmissionDecision DecideAdmission(std::int64_t capacity_blocks,
                                  std::span<const RunningImage> running,
                                  std::int64_t candidate_peak_blocks) {
  HEATKV_CHECK_GE(capacity_blocks, 0);
  HEATKV_CHECK_GE(candidate_peak_blocks, 0);
  if (candidate_peak_blocks > capacity_blocks) {
    return {.verdict = AdmissionVerdict::kNever,
            .blocks_needed = candidate_peak_blocks,
            .blocks_available = capacity_blocks};
  }
  std::int64_t available = capacity_blocks;
  for (const RunningImage& image : running) {
    HEATKV_CHECK_GE(image.blocks_held, 0);
    HEATKV_CHECK_LE(image.blocks_held, image.peak_blocks);
    available -= image.peak_blocks;
  }
  HEATKV_CHECK_GE(available, 0) << "more is promised than there is";
  return {.verdict = candidate_peak_blocks <= available
                         ? AdmissionVerdict::kAdmit
                         : AdmissionVerdict::kWait,
          .blocks_needed = candidate_peak_blocks,
          .blocks_available = available};
}

}  // namespace heatkv::cache
