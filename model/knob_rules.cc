#include "model/knob_rules.h"

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace heatkv::model {

absl::Status CheckKnobs(const SamplingKnobs& knobs, int num_scales) {
  const auto check = [&](const char* name, const std::vector<float>& values) {
    if (static_cast<int>(values.size()) != num_scales) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " has ", values.size(), " values, but the ladder ",
                       num_scales, " scales"));
    }
    for (const float value : values) {
      if (!std::isfinite(value)) {
        return absl::InvalidArgumentError(
            absl::StrCat(name, " holds ", value, ", expected a finite number"));
      }
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(check("guidance", knobs.guidance));
  RETURN_IF_ERROR(check("tau", knobs.tau));
  for (const float tau : knobs.tau) {
    if (tau <= 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("tau holds ", tau, ", expected more than 0"));
    }
  }
  if (!(knobs.top_p > 0 && knobs.top_p <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "top_p is ", knobs.top_p, ", expected more than 0 and at most 1"));
  }
  return absl::OkStatus();
}

}  // namespace heatkv::model
