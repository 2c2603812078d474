#include "server/config/yaml_map.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace heatkv::server {
namespace {

struct Unit {
  absl::string_view name;
  double factor;
};

constexpr Unit kByteUnits[] = {{"B", 1.0},
                               {"KiB", 1024.0},
                               {"MiB", 1024.0 * 1024},
                               {"GiB", 1024.0 * 1024 * 1024},
                               {"TiB", 1024.0 * 1024 * 1024 * 1024}};
constexpr Unit kTimeUnits[] = {
    {"ms", 0.001}, {"s", 1.0}, {"min", 60.0}, {"h", 3600.0}};

template <std::size_t N>
absl::StatusOr<double> ParseWithUnit(absl::string_view text,
                                     const Unit (&units)[N],
                                     absl::string_view expected) {
  const absl::string_view stripped = absl::StripAsciiWhitespace(text);
  const std::size_t end = stripped.find_first_not_of("0123456789.");
  const absl::string_view number = stripped.substr(0, end);
  const absl::string_view unit =
      end == absl::string_view::npos
          ? absl::string_view()
          : absl::StripLeadingAsciiWhitespace(stripped.substr(end));
  double value = 0;
  if (absl::SimpleAtod(number, &value)) {
    for (const Unit& known : units) {
      if (known.name == unit) return value * known.factor;
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is not ", expected));
}

std::string Kind(const YAML::Node& node) {
  if (node.IsMap()) return "a mapping";
  if (node.IsSequence()) return "a list";
  if (node.IsScalar()) return absl::StrCat("\"", node.Scalar(), "\"");
  return "empty";
}

}  // namespace

void YamlMistakes::Add(const YAML::Node& where, absl::string_view what) {
  const YAML::Mark mark = where.Mark();
  mistakes_.push_back({mark.line + 1, mark.column + 1, std::string(what)});
}

absl::Status YamlMistakes::ToStatus() const {
  if (mistakes_.empty()) return absl::OkStatus();
  std::vector<Mistake> sorted = mistakes_;
  std::stable_sort(
      sorted.begin(), sorted.end(), [](const Mistake& a, const Mistake& b) {
        return std::pair(a.line, a.column) < std::pair(b.line, b.column);
      });
  return absl::InvalidArgumentError(
      absl::StrJoin(sorted, "\n", [this](std::string* out, const Mistake& m) {
        absl::StrAppend(out, file_, ":", m.line, ":", m.column, ": ", m.what);
      }));
}

absl::StatusOr<YAML::Node> ParseYaml(const std::string& text,
                                     absl::string_view file) {
  try {
    return YAML::Load(text);
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(
        file, ":", e.mark.line + 1, ":", e.mark.column + 1, ": ", e.msg));
  }
}

absl::StatusOr<YAML::Node> ParseYamlFile(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (!stream || std::filesystem::is_directory(file)) {
    return absl::NotFoundError(absl::StrCat(file.string(), ": cannot be read"));
  }
  return ParseYaml(text, file.string());
}

YamlMap::YamlMap(const YAML::Node& node, std::string path,
                 YamlMistakes* mistakes)
    : node_(node), path_(std::move(path)), mistakes_(mistakes) {
  if (!node_.IsMap()) {
    mistakes_->Add(node_,
                   absl::StrCat(path_.empty() ? "the file" : path_,
                                " must be a mapping, but is ", Kind(node_)));
    return;
  }
  std::set<std::string> seen;
  for (const auto& entry : node_) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    if (!seen.insert(key).second) {
      mistakes_->Add(entry.first,
                     absl::StrCat("the key ", PathOf(key), " appears twice"));
    }
  }
}

std::string YamlMap::PathOf(absl::string_view key) const {
  return path_.empty() ? std::string(key) : absl::StrCat(path_, ".", key);
}

std::optional<YAML::Node> YamlMap::ReadNode(absl::string_view key,
                                            Presence presence) {
  asked_.insert(std::string(key));
  if (!node_.IsMap()) return std::nullopt;
  for (const auto& entry : node_) {
    if (entry.first.IsScalar() && entry.first.Scalar() == key) {
      return entry.second;
    }
  }
  if (presence == kRequired) {
    mistakes_->Add(node_, absl::StrCat("the key ", PathOf(key), " is missing"));
  }
  return std::nullopt;
}

bool YamlMap::ReadString(absl::string_view key, Presence presence,
                         std::string* out) {
  const auto node = ReadNode(key, presence);
  if (!node.has_value()) return false;
  if (!node->IsScalar()) {
    mistakes_->Add(*node, absl::StrCat(PathOf(key), " must be text, but is ",
                                       Kind(*node)));
    return false;
  }
  *out = node->Scalar();
  return true;
}

bool YamlMap::ReadBool(absl::string_view key, Presence presence, bool* out) {
  const auto node = ReadNode(key, presence);
  if (!node.has_value()) return false;
  if (node->IsScalar() &&
      (node->Scalar() == "true" || node->Scalar() == "false")) {
    *out = node->Scalar() == "true";
    return true;
  }
  mistakes_->Add(*node,
                 absl::StrCat(PathOf(key), " must be true or false, but is ",
                              Kind(*node)));
  return false;
}

bool YamlMap::ReadInt(absl::string_view key, Presence presence, int least,
                      int most, int* out) {
  const auto node = ReadNode(key, presence);
  if (!node.has_value()) return false;
  int value = 0;
  if (!node->IsScalar() || !absl::SimpleAtoi(node->Scalar(), &value) ||
      value < least || value > most) {
    mistakes_->Add(
        *node, absl::StrCat(PathOf(key), " must be a whole number ", "from ",
                            least, " to ", most, ", but is ", Kind(*node)));
    return false;
  }
  *out = value;
  return true;
}

bool YamlMap::ReadDouble(absl::string_view key, Presence presence, double least,
                         double most, double* out) {
  const auto node = ReadNode(key, presence);
  if (!node.has_value()) return false;
  double value = 0;
  if (!node->IsScalar() || !absl::SimpleAtod(node->Scalar(), &value) ||
      !std::isfinite(value) || value < least || value > most) {
    mistakes_->Add(*node,
                   absl::StrCat(PathOf(key), " must be a number from ", least,
                                " to ", most, ", but is ", Kind(*node)));
    return false;
  }
  *out = value;
  return true;
}

bool YamlMap::ReadStrings(absl::string_view key, Presence presence,
                          std::vector<std::string>* out) {
  const auto node = ReadNode(key, presence);
  if (!node.has_value()) return false;
  bool good = node->IsSequence() && node->size() > 0;
  std::vector<std::string> values;
  if (good) {
    for (const auto& item : *node) {
      good = good && item.IsScalar();
      if (good) values.push_back(item.Scalar());
    }
  }
  if (!good) {
    mistakes_->Add(
        *node, absl::StrCat(PathOf(key), " must be a list of texts, but is ",
                            Kind(*node)));
    return false;
  }
  *out = std::move(values);
  return true;
}

bool YamlMap::ReadInts(absl::string_view key, Presence presence, int least,
                       int most, std::vector<int>* out) {
  const auto node = ReadNode(key, presence);
  if (!node.has_value()) return false;
  bool good = node->IsSequence() && node->size() > 0;
  std::vector<int> values;
  if (good) {
    for (const auto& item : *node) {
      int value = 0;
      good = good && item.IsScalar() &&
             absl::SimpleAtoi(item.Scalar(), &value) && value >= least &&
             value <= most;
      values.push_back(value);
    }
  }
  if (!good) {
    mistakes_->Add(*node, absl::StrCat(PathOf(key),
                                       " must be a list of whole numbers from ",
                                       least, " to ", most));
    return false;
  }
  *out = std::move(values);
  return true;
}

bool YamlMap::ReadBytes(absl::string_view key, Presence presence,
                        std::int64_t* out) {
  std::string text;
  if (!ReadString(key, presence, &text)) return false;
  const absl::StatusOr<std::int64_t> bytes = ParseBytes(text);
  if (!bytes.ok()) {
    mistakes_->Add(*ReadNode(key, kOptional),
                   absl::StrCat(PathOf(key), ": ", bytes.status().message()));
    return false;
  }
  *out = *bytes;
  return true;
}

bool YamlMap::ReadSeconds(absl::string_view key, Presence presence,
                          double* out) {
  std::string text;
  if (!ReadString(key, presence, &text)) return false;
  const absl::StatusOr<double> seconds = ParseSeconds(text);
  if (!seconds.ok()) {
    mistakes_->Add(*ReadNode(key, kOptional),
                   absl::StrCat(PathOf(key), ": ", seconds.status().message()));
    return false;
  }
  *out = *seconds;
  return true;
}

void YamlMap::Finish() {
  if (!node_.IsMap()) return;
  for (const auto& entry : node_) {
    const std::string key =
        entry.first.IsScalar() ? entry.first.Scalar() : Kind(entry.first);
    if (asked_.count(key) != 0) continue;
    mistakes_->Add(entry.first,
                   absl::StrCat("unknown key ", PathOf(key),
                                "; known here: ", absl::StrJoin(asked_, ", ")));
  }
}

absl::StatusOr<std::int64_t> ParseBytes(absl::string_view text) {
  const auto value = ParseWithUnit(
      text, kByteUnits,
      "a size with its unit (B, KiB, MiB, GiB or TiB), like \"256 MiB\"");
  if (!value.ok()) return value.status();
  if (*value > 0.5 * std::numeric_limits<std::int64_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is larger than any memory"));
  }
  return static_cast<std::int64_t>(std::llround(*value));
}

absl::StatusOr<double> ParseSeconds(absl::string_view text) {
  return ParseWithUnit(
      text, kTimeUnits,
      "a duration with its unit (ms, s, min or h), like \"30s\"");
}

}  // namespace heatkv::server
