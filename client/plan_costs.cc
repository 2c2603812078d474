#include "client/plan_costs.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "calibration/json_text.h"
#include "nlohmann/json.hpp"

namespace heatkv::client {
namespace {

using Json = nlohmann::ordered_json;
using server::StepCostTable;

absl::StatusOr<absl::Duration> AsSeconds(const Json& value,
                                         const std::string& where) {
  if (!value.is_number()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": not a number of seconds"));
  }
  return absl::Seconds(value.get<double>());
}

absl::StatusOr<std::vector<std::vector<absl::Duration>>> ParseSteps(
    const Json& value, const std::string& where) {
  if (!value.is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": not a list"));
  }
  std::vector<std::vector<absl::Duration>> steps;
  for (const Json& scale : value) {
    const std::string at = absl::StrCat(where, ", scale ", steps.size());
    std::vector<absl::Duration> of_images;
    if (scale.is_array()) {
      for (const Json& seconds : scale) {
        ASSIGN_OR_RETURN(const absl::Duration took, AsSeconds(seconds, at));
        of_images.push_back(took);
      }
    } else {
      ASSIGN_OR_RETURN(const absl::Duration took, AsSeconds(scale, at));
      of_images.push_back(took);
    }
    steps.push_back(std::move(of_images));
  }
  return steps;
}

absl::StatusOr<StepCostTable::LadderCosts> ParseLadder(
    const Json& value, const std::string& where) {
  StepCostTable::LadderCosts costs;
  ASSIGN_OR_RETURN(costs.decode, AsSeconds(value["decode"], where));
  RETURN_IF_ERROR(calibration::CheckMembers(value["steps"], {"1", "2"}, where));
  for (const char* branches : {"1", "2"}) {
    ASSIGN_OR_RETURN(costs.steps[branches[0] - '1'],
                     ParseSteps(value["steps"][branches],
                                absl::StrCat(where, ", branches ", branches)));
  }
  return costs;
}

}  // namespace

absl::StatusOr<StepCostTable> ParseStepCosts(std::string_view text,
                                             std::string_view name,
                                             const model::ModelSpec& spec) {
  ASSIGN_OR_RETURN(Json file, calibration::ParseJson(text, name));
  const std::string where(name);
  RETURN_IF_ERROR(calibration::CheckMembers(
      file, {"format", "device", "text", "ladders"}, where));
  if (file["format"] != "heatkv-step-costs-1") {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": the format is ", file["format"].dump(),
                     ", but \"heatkv-step-costs-1\" is what can be read"));
  }
  ASSIGN_OR_RETURN(const std::string device,
                   calibration::AsString(file["device"], where));
  ASSIGN_OR_RETURN(const absl::Duration encoding,
                   AsSeconds(file["text"], absl::StrCat(where, ", text")));
  if (!file["ladders"].is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": ladders: not a list"));
  }
  for (const Json& entry : file["ladders"]) {
    RETURN_IF_ERROR(calibration::CheckMembers(
        entry, {"aspect", "pixel_class", "decode", "steps"},
        absl::StrCat(where, ", ladders")));
  }
  std::vector<StepCostTable::LadderCosts> ladders;
  for (const model::LadderSpec& wanted : spec.ladders) {
    const std::string ladder =
        absl::StrCat(wanted.aspect, " at ", wanted.pixel_class);
    const std::size_t before = ladders.size();
    for (const Json& entry : file["ladders"]) {
      if (entry["aspect"] != wanted.aspect ||
          entry["pixel_class"] != wanted.pixel_class) {
        continue;
      }
      ASSIGN_OR_RETURN(
          StepCostTable::LadderCosts costs,
          ParseLadder(entry, absl::StrCat(where, ", ladder ", ladder)));
      ladders.push_back(std::move(costs));
      break;
    }
    if (ladders.size() == before) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": no costs of ladder ", ladder));
    }
  }
  absl::StatusOr<StepCostTable> table = StepCostTable::Create(
      spec, std::move(ladders), encoding,
      absl::StrCat("measured: ", device, " (", where, ")"));
  if (!table.ok()) {
    return absl::Status(table.status().code(),
                        absl::StrCat(where, ": ", table.status().message()));
  }
  return table;
}

absl::StatusOr<StepCostTable> ReadStepCosts(const std::filesystem::path& file,
                                            const model::ModelSpec& spec) {
  ASSIGN_OR_RETURN(const std::string text, calibration::ReadText(file));
  return ParseStepCosts(text, file.string(), spec);
}

}  // namespace heatkv::client
