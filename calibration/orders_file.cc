#include "calibration/orders_file.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "calibration/json_text.h"
#include "calibration/ranking_json.h"

namespace heatkv::calibration {

absl::StatusOr<cache::Ranking> ParseOrders(std::string_view text,
                                           std::string_view name, int layers,
                                           int heads, int sink_scales) {
  ASSIGN_OR_RETURN(const nlohmann::ordered_json file, ParseJson(text, name));
  const std::string where(name);
  if (!file.is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": must be a list of one list of heads a source scale"));
  }
  std::vector<std::vector<cache::HeadIndex>> orders;
  for (const auto& list : file) {
    ASSIGN_OR_RETURN(std::vector<cache::HeadIndex> order,
                     AsHeads(list, absl::StrCat(where, ": source scale ",
                                                sink_scales + orders.size())));
    orders.push_back(std::move(order));
  }
  absl::StatusOr<cache::Ranking> ranking =
      cache::Ranking::Create(layers, heads, sink_scales, std::move(orders));
  if (!ranking.ok()) return Within(where, ranking.status());
  return ranking;
}

absl::StatusOr<cache::Ranking> ReadOrders(const std::filesystem::path& file,
                                          int layers, int heads,
                                          int sink_scales) {
  ASSIGN_OR_RETURN(const std::string text, ReadText(file));
  return ParseOrders(text, file.string(), layers, heads, sink_scales);
}

}  // namespace heatkv::calibration
