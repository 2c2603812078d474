#include "calibration/profile.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "calibration/json_text.h"
#include "calibration/ranking_json.h"

namespace heatkv::calibration {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kFormat[] = "heatkv-profile-1";
constexpr int kMany = 1 << 20;

absl::Status Mistake(const std::string& where, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

absl::StatusOr<std::string> AsSha256(const Json& value,
                                     const std::string& where) {
  ASSIGN_OR_RETURN(std::string text, AsString(value, where));
  bool is_hex = text.size() == 64;
  for (const char c : text) {
    is_hex &= absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
  }
  if (!is_hex) {
    return Mistake(where, absl::StrCat("must be 64 lower-case hexadecimal "
                                       "digits, but is '",
                                       text, "'"));
  }
  return text;
}

absl::StatusOr<cache::ScaleLadder> AsLadder(const Json& scales, int sink_scales,
                                            const std::string& where) {
  if (!scales.is_array()) return Mistake(where, "must be a list of grids");
  std::vector<cache::Grid> grids;
  for (const Json& grid : scales) {
    const std::string at = absl::StrCat(where, "[", grids.size(), "]");
    if (!grid.is_array() || grid.size() != 2) {
      return Mistake(at, "must be [height, width]");
    }
    ASSIGN_OR_RETURN(const int height, AsInt(grid[0], 1, kMany, at));
    ASSIGN_OR_RETURN(const int width, AsInt(grid[1], 1, kMany, at));
    grids.push_back({.height = height, .width = width});
  }
  absl::StatusOr<cache::ScaleLadder> ladder =
      cache::ScaleLadder::Create(std::move(grids), sink_scales);
  if (!ladder.ok()) return Within(where, ladder.status());
  return ladder;
}

// The values of {"s": ...}, which must have exactly the ladder's prunable
// source scales, by ascending s.
absl::StatusOr<std::vector<const Json*>> BySourceScale(
    const Json& value, const cache::ScaleLadder& ladder,
    const std::string& where) {
  if (!value.is_object()) return Mistake(where, "must be an object");
  const int expected = ladder.end_prunable() - ladder.first_prunable();
  if (static_cast<int>(value.size()) != expected) {
    return Mistake(where, absl::StrCat(value.size(),
                                       " source scales, but the "
                                       "ladder has ",
                                       expected, " (", ladder.first_prunable(),
                                       " to ", ladder.end_prunable() - 1, ")"));
  }
  std::vector<const Json*> items;
  for (int s = ladder.first_prunable(); s < ladder.end_prunable(); ++s) {
    const auto found = value.find(absl::StrCat(s));
    if (found == value.end()) {
      return Mistake(where, absl::StrCat("source scale ", s, " is missing"));
    }
    items.push_back(&*found);
  }
  return items;
}

absl::StatusOr<std::vector<double>> AsScores(const Json& rows, int layers,
                                             int heads,
                                             const std::string& where) {
  if (!rows.is_array() || static_cast<int>(rows.size()) != layers) {
    return Mistake(where, absl::StrCat(rows.is_array() ? rows.size() : 0,
                                       " layers, but the model has ", layers));
  }
  std::vector<double> scores;
  for (int layer = 0; layer < layers; ++layer) {
    const Json& row = rows[layer];
    const std::string at = absl::StrCat(where, ", layer ", layer);
    if (!row.is_array() || static_cast<int>(row.size()) != heads) {
      return Mistake(at, absl::StrCat(row.is_array() ? row.size() : 0,
                                      " heads, but the model has ", heads));
    }
    for (int head = 0; head < heads; ++head) {
      if (!row[head].is_number()) {
        return Mistake(absl::StrCat(at, ", head ", head),
                       absl::StrCat("must be a finite number, but is ",
                                    row[head].dump().substr(0, 40)));
      }
      scores.push_back(row[head].get<double>());
    }
  }
  return scores;
}

absl::Status CheckAscending(const cache::Ranking& ranking,
                            const std::vector<std::vector<double>>& scores,
                            const std::string& where) {
  for (int s = ranking.first_source_scale(); s < ranking.end_source_scale();
       ++s) {
    const auto order = ranking.order(s);
    const auto& row = scores[s - ranking.first_source_scale()];
    for (std::size_t i = 1; i < order.size(); ++i) {
      const double before =
          row[order[i - 1].layer * ranking.heads() + order[i - 1].head];
      const double after =
          row[order[i].layer * ranking.heads() + order[i].head];
      if (before > after) {
        return Mistake(where,
                       absl::StrCat("source scale ", s, ", position ", i,
                                    ": score ", after, " after ", before));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Profile> ParseProfile(std::string_view text,
                                     std::string_view name) {
  const std::string where(name);
  ASSIGN_OR_RETURN(const Json file, ParseJson(text, name));
  RETURN_IF_ERROR(CheckMembers(
      file,
      {"format", "model_sha256", "ladder", "sink_scales", "layers", "heads",
       "prompts", "prompts_sha256", "tool", "scores", "ranking"},
      where));
  const auto at = [&](const char* member) {
    return absl::StrCat(where, ": ", member);
  };
  ASSIGN_OR_RETURN(const std::string format,
                   AsString(file["format"], at("format")));
  if (format != kFormat) {
    return Mistake(at("format"), absl::StrCat("must be '", kFormat,
                                              "', but is '", format, "'"));
  }
  ASSIGN_OR_RETURN(std::string model_sha256,
                   AsSha256(file["model_sha256"], at("model_sha256")));
  ASSIGN_OR_RETURN(std::string prompts_sha256,
                   AsSha256(file["prompts_sha256"], at("prompts_sha256")));
  ASSIGN_OR_RETURN(std::string tool, AsString(file["tool"], at("tool")));
  ASSIGN_OR_RETURN(const int sink_scales,
                   AsInt(file["sink_scales"], 1, kMany, at("sink_scales")));
  ASSIGN_OR_RETURN(const int layers,
                   AsInt(file["layers"], 1, kMany, at("layers")));
  ASSIGN_OR_RETURN(const int heads,
                   AsInt(file["heads"], 1, kMany, at("heads")));
  ASSIGN_OR_RETURN(const int prompts,
                   AsInt(file["prompts"], 1, kMany, at("prompts")));

  const Json& ladder_json = file["ladder"];
  RETURN_IF_ERROR(CheckMembers(ladder_json, {"aspect", "pixel_class", "scales"},
                               at("ladder")));
  ASSIGN_OR_RETURN(std::string aspect,
                   AsString(ladder_json["aspect"], at("ladder.aspect")));
  ASSIGN_OR_RETURN(std::string pixel_class, AsString(ladder_json["pixel_class"],
                                                     at("ladder.pixel_class")));
  ASSIGN_OR_RETURN(
      cache::ScaleLadder ladder,
      AsLadder(ladder_json["scales"], sink_scales, at("ladder.scales")));

  ASSIGN_OR_RETURN(const std::vector<const Json*> score_rows,
                   BySourceScale(file["scores"], ladder, at("scores")));
  ASSIGN_OR_RETURN(const std::vector<const Json*> order_lists,
                   BySourceScale(file["ranking"], ladder, at("ranking")));
  std::vector<std::vector<double>> scores;
  std::vector<std::vector<cache::HeadIndex>> orders;
  for (std::size_t i = 0; i < score_rows.size(); ++i) {
    const std::string scale =
        absl::StrCat("source scale ", ladder.first_prunable() + i);
    ASSIGN_OR_RETURN(std::vector<double> row,
                     AsScores(*score_rows[i], layers, heads,
                              absl::StrCat(where, ": scores of ", scale)));
    scores.push_back(std::move(row));
    ASSIGN_OR_RETURN(
        std::vector<cache::HeadIndex> order,
        AsHeads(*order_lists[i], absl::StrCat(where, ": ranking of ", scale)));
    orders.push_back(std::move(order));
  }
  absl::StatusOr<cache::Ranking> ranking = cache::Ranking::Create(
      layers, heads, ladder.first_prunable(), std::move(orders));
  if (!ranking.ok()) return Within(where, ranking.status());
  RETURN_IF_ERROR(CheckAscending(*ranking, scores, at("ranking")));

  return Profile{.model_sha256 = std::move(model_sha256),
                 .aspect = std::move(aspect),
                 .pixel_class = std::move(pixel_class),
                 .ladder = std::move(ladder),
                 .prompts = prompts,
                 .prompts_sha256 = std::move(prompts_sha256),
                 .tool = std::move(tool),
                 .scores = std::move(scores),
                 .ranking = *std::move(ranking)};
}

absl::StatusOr<Profile> ReadProfile(const std::filesystem::path& file) {
  ASSIGN_OR_RETURN(const std::string text, ReadText(file));
  return ParseProfile(text, file.string());
}

}  // namespace heatkv::calibration
