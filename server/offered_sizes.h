// Which of a model's ladders a server offers.
//
// Pure functions of plain values.  Thread safety: stateless.

#ifndef SERVER_OFFERED_SIZES_H_
#define SERVER_OFFERED_SIZES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/api/model_spec.h"
#include "server/engine/schedule_book.h"

namespace heatkv::server {

struct OfferedSizes {
  std::vector<model::LadderSpec> ladders;  // in the model's order
  // One line for each pixel class that is not offered, with the reason.
  std::vector<std::string> left_out;
};

// Those of `pixel_classes`, in the model's order; if there are none, those of
// the model's first ladder and of all classes in which every tier's budget
// holds the sinks.  Fails with InvalidArgument, naming both, if the model has
// no such class.
absl::StatusOr<OfferedSizes> OfferSizes(
    const model::ModelSpec& spec, const std::vector<TierSpec>& tiers,
    const std::vector<std::string>& pixel_classes);

}  // namespace heatkv::server

#endif  // SERVER_OFFERED_SIZES_H_
