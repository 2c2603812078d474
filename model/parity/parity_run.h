// Repeats a recorded run of the authors' implementation with our model: same
// weights, text features and random draws, but our own bits feed on, through
// the same pool, block lists and step plans as the server's, with the schedule
// that drops nothing.

#ifndef MODEL_PARITY_PARITY_RUN_H_
#define MODEL_PARITY_PARITY_RUN_H_

#include <string>

#include "absl/status/statusor.h"
#include "model/parity/parity_report.h"

namespace heatkv::model {

// Fails if the folder cannot be read or contradicts itself; a run that merely
// differs is a report that does not pass.
absl::StatusOr<ParityReport> RunParity(const std::string& folder,
                                       bool with_vae);

}  // namespace heatkv::model

#endif  // MODEL_PARITY_PARITY_RUN_H_
