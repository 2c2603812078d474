#include "calibration/json_text.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace heatkv::calibration {
namespace {

using Json = nlohmann::ordered_json;

absl::string_view View(std::string_view text) {
  return {text.data(), text.size()};
}

absl::Status Mistake(std::string_view where, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(View(where), ": ", what));
}

void Append(const Json& value, std::string* out) {
  if (!value.is_structured()) {
    out->append(value.dump(-1, ' ', /*ensure_ascii=*/true));
    return;
  }
  out->append(value.is_object() ? "{" : "[");
  bool is_first = true;
  for (const auto& [key, item] : value.items()) {
    if (!is_first) out->append(", ");
    is_first = false;
    if (value.is_object()) {
      out->append(Json(key).dump(-1, ' ', /*ensure_ascii=*/true));
      out->append(": ");
    }
    Append(item, out);
  }
  out->append(value.is_object() ? "}" : "]");
}

}  // namespace

std::string ToPythonText(const Json& value) {
  std::string text;
  Append(value, &text);
  return text;
}

absl::StatusOr<Json> ParseJson(std::string_view text, std::string_view name) {
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::exception& e) {
    return Mistake(name, absl::StrCat("no valid JSON: ", e.what()));
  }
}

absl::StatusOr<std::string> ReadText(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) {
    return absl::NotFoundError(absl::StrCat("no file ", file.string()));
  }
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  if (!stream || !text) {
    return absl::InternalError(absl::StrCat("cannot read ", file.string()));
  }
  return std::move(text).str();
}

absl::Status CheckMembers(const Json& value,
                          std::initializer_list<std::string_view> names,
                          std::string_view where) {
  if (!value.is_object()) return Mistake(where, "must be an object");
  for (const std::string_view name : names) {
    if (!value.contains(name)) {
      return Mistake(where, absl::StrCat("'", View(name), "' is missing"));
    }
  }
  for (const auto& [key, item] : value.items()) {
    if (std::find(names.begin(), names.end(), key) == names.end()) {
      return Mistake(where, absl::StrCat("'", key, "' is not known"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> AsString(const Json& value,
                                     std::string_view where) {
  if (!value.is_string()) {
    return Mistake(where,
                   absl::StrCat("must be a string, but is ", value.dump()));
  }
  return value.get<std::string>();
}

absl::StatusOr<int> AsInt(const Json& value, int least, int most,
                          std::string_view where) {
  if (!value.is_number_integer() || value.get<std::int64_t>() < least ||
      value.get<std::int64_t>() > most) {
    return Mistake(
        where, absl::StrCat("must be a whole number from ", least, " to ", most,
                            ", but is ", value.dump().substr(0, 40)));
  }
  return static_cast<int>(value.get<std::int64_t>());
}

}  // namespace heatkv::calibration
