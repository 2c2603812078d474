// JSON text in and out.
//
// Out: the form that Python's json.dumps gives by default ("a": 1, "b": [1, 2],
// non-ASCII escaped), because the authors of HeatKV name a schedule by the hash
// of that form.
// In: strict reading where every mistake is a Status that says where it is; no
// exception of the JSON library leaves this folder.

#ifndef CALIBRATION_JSON_TEXT_H_
#define CALIBRATION_JSON_TEXT_H_

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace heatkv::calibration {

// Members in the order in which they were added.
std::string ToPythonText(const nlohmann::ordered_json& value);

// Parses a whole text; `name` stands for it in messages.  Fails with
// InvalidArgument, which says at what byte, if it is no JSON.
absl::StatusOr<nlohmann::ordered_json> ParseJson(std::string_view text,
                                                 std::string_view name);

// The content of a file.  Fails with NotFound, or with Internal if it cannot be
// read.
absl::StatusOr<std::string> ReadText(const std::filesystem::path& file);

// Fails with InvalidArgument unless `value` is an object of exactly the members
// `names`; says which one is missing or not known.  `where` leads the message.
absl::Status CheckMembers(const nlohmann::ordered_json& value,
                          std::initializer_list<std::string_view> names,
                          std::string_view where);

// Typed values.  Fail with InvalidArgument, led by `where`, which names the
// value.
absl::StatusOr<std::string> AsString(const nlohmann::ordered_json& value,
                                     std::string_view where);
absl::StatusOr<int> AsInt(const nlohmann::ordered_json& value, int least,
                          int most, std::string_view where);

}  // namespace heatkv::calibration

#endif  // CALIBRATION_JSON_TEXT_H_
