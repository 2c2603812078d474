// Lists of [head, layer] pairs, which orders files and profiles have in common.

#ifndef CALIBRATION_RANKING_JSON_H_
#define CALIBRATION_RANKING_JSON_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache/geometry.h"
#include "nlohmann/json.hpp"

namespace heatkv::calibration {

// Fails with InvalidArgument, led by `where`, naming the position, if an entry
// is no pair of whole numbers.
absl::StatusOr<std::vector<cache::HeadIndex>> AsHeads(
    const nlohmann::ordered_json& list, const std::string& where);

// `status` with `where` before its message.
absl::Status Within(const std::string& where, const absl::Status& status);

}  // namespace heatkv::calibration

#endif  // CALIBRATION_RANKING_JSON_H_
