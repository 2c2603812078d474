// The profile: what one calibration of one model measured, and the ranking that
// follows from it (file format heatkv-profile-1, JSON).
//
//   format          "heatkv-profile-1"
//   model_sha256    of the bytes of the transformer's weights
//   ladder          {aspect, pixel_class, scales: [[height, width], ...]}
//   sink_scales, layers, heads
//   prompts         how many; prompts_sha256: of the prompts joined by "\n"
//   tool            who measured, with version
//   scores          {"s": [[a value for each head] for each layer]}: S-CAS,
//                   cumulative attention on source scale s
//   ranking         {"s": [[head, layer], ...]}, ascending importance
// Source scales s are sink_scales .. scales - 2, all of them, as decimal texts.
//
// A plain value.

#ifndef CALIBRATION_PROFILE_H_
#define CALIBRATION_PROFILE_H_

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/ladder.h"
#include "cache/ranking.h"

namespace heatkv::calibration {

struct Profile {
  std::string model_sha256;
  std::string aspect;
  std::string pixel_class;
  cache::ScaleLadder ladder;  // with its sink scales
  int prompts = 0;
  std::string prompts_sha256;
  std::string tool;
  // scores[i][layer * heads + head] for source scale ladder.first_prunable() +
  // i.
  std::vector<std::vector<double>> scores;
  cache::Ranking ranking;

  int layers() const { return ranking.layers(); }
  int heads() const { return ranking.heads(); }
};

// Strict: every member must be there and no other.  Fails with InvalidArgument,
// naming file, member and both numbers, for anything that contradicts the
// format or itself: a score that is no finite number, a count that does not fit
// layers, heads or scales, a ranking that is no permutation or that does not
// ascend in the scores.
absl::StatusOr<Profile> ParseProfile(std::string_view text,
                                     std::string_view name);

// The same from a file; NotFound if there is none.
absl::StatusOr<Profile> ReadProfile(const std::filesystem::path& file);

}  // namespace heatkv::calibration

#endif  // CALIBRATION_PROFILE_H_
