#include "calibration/ranking_json.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "calibration/json_text.h"

namespace heatkv::calibration {
namespace {

constexpr int kMany = 1 << 20;  // above any number of heads or layers

}  // namespace

absl::StatusOr<std::vector<cache::HeadIndex>> AsHeads(
    const nlohmann::ordered_json& list, const std::string& where) {
  if (!list.is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": must be a list of [head, layer]"));
  }
  std::vector<cache::HeadIndex> heads;
  for (const auto& pair : list) {
    const std::string at = absl::StrCat(where, ", position ", heads.size());
    if (!pair.is_array() || pair.size() != 2) {
      return absl::InvalidArgumentError(absl::StrCat(
          at, ": must be [head, layer], but is ", pair.dump().substr(0, 40)));
    }
    ASSIGN_OR_RETURN(const int head, AsInt(pair[0], 0, kMany, at));
    ASSIGN_OR_RETURN(const int layer, AsInt(pair[1], 0, kMany, at));
    heads.push_back({.layer = layer, .head = head});
  }
  return heads;
}

absl::Status Within(const std::string& where, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat(where, ": ", status.message()));
}

}  // namespace heatkv::calibration
