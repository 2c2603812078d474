#include "cache/admission.h"

#include <algorithm>

#include "absl/container/inlined_vector.h"

namespace heatkv::cache {
namespace {

AdmissionDecision Never(std::int64_t limit, const Trajectory& candidate) {
  return {.verdict = AdmissionVerdict::kNever,
          .blocks_needed = candidate.peak_blocks(),
          .blocks_available = limit};
}

AdmissionDecision AdmitIfFits(std::int64_t limit, std::int64_t needed) {
  return {.verdict = needed <= limit ? AdmissionVerdict::kAdmit
                                     : AdmissionVerdict::kWait,
          .blocks_needed = needed,
          .blocks_available = limit};
}

}  // namespace

AdmissionDecision DecideAdmission(std::int64_t limit,
                                  std::span<const ImageProgress> running,
                                  const Trajectory& candidate) {
  if (candidate.peak_blocks() > limit) return Never(limit, candidate);
  std::int64_t during = candidate.blocks_peak(0);
  absl::InlinedVector<ImageProgress, 64> after;
  after.reserve(running.size() + 1);
  for (const ImageProgress& image : running) {
    during += image.blocks_held();
    after.push_back(image);
  }
  after.push_back({.trajectory = &candidate, .next_scale = 1});
  return AdmitIfFits(limit, std::max(during, SafeCapacity(after)));
}

AdmissionDecision DecideAdmissionBySumOfPeaks(
    std::int64_t limit, std::span<const ImageProgress> running,
    const Trajectory& candidate) {
  if (candidate.peak_blocks() > limit) return Never(limit, candidate);
  std::int64_t needed = candidate.peak_blocks();
  for (const ImageProgress& image : running) needed += image.peak_blocks();
  return AdmitIfFits(limit, needed);
}

}  // namespace heatkv::cache
