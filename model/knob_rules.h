// What must hold of an image's sampling knobs.

#ifndef MODEL_KNOB_RULES_H_
#define MODEL_KNOB_RULES_H_

#include "absl/status/status.h"
#include "model/api/image_model.h"

namespace heatkv::model {

// Fails with InvalidArgument, naming the knob and its value, unless there is a
// finite value for each of `num_scales` scales, tau is positive and top_p in
// (0, 1].
absl::Status CheckKnobs(const SamplingKnobs& knobs, int num_scales);

}  // namespace heatkv::model

#endif  // MODEL_KNOB_RULES_H_
