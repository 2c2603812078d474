// The file of measured step costs that `heatkv plan --costs` reads:
//
//   {"format": "heatkv-step-costs-1",
//    "device": "2 cores of ...",        what was measured, for the reader
//    "text": 0.004,                     seconds of encoding one prompt
//    "ladders": [
//      {"aspect": "1:1", "pixel_class": "128",
//       "decode": 0.2,                  seconds of decoding one image
//       "steps": {"1": [0.01, ...],     seconds by scale, of one branch
//                 "2": [[0.01, 0.02], 0.03, ...]}}]}   and of two
//
// A scale has one number, or a list by the number of images in the step; more
// images cost the last number.
//
// Stateless; any thread may call this.

#ifndef CLIENT_PLAN_COSTS_H_
#define CLIENT_PLAN_COSTS_H_

#include <filesystem>
#include <string_view>

#include "absl/status/statusor.h"
#include "model/api/model_spec.h"
#include "server/engine/step_cost_table.h"

namespace heatkv::client {

// The costs of the ladders of `spec`; the file may have those of others.  Fails
// with InvalidArgument, naming file and place, if one is missing or if anything
// is not as above.
absl::StatusOr<server::StepCostTable> ParseStepCosts(
    std::string_view text, std::string_view name, const model::ModelSpec& spec);

// The same from a file; NotFound if there is none.
absl::StatusOr<server::StepCostTable> ReadStepCosts(
    const std::filesystem::path& file, const model::ModelSpec& spec);

}  // namespace heatkv::client

#endif  // CLIENT_PLAN_COSTS_H_
