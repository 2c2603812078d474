// Strict reading of YAML: every key must be known, every value must have the
// right type and range, and all mistakes of a file are reported together, each
// with its line and column.
//
// A YamlMap walks one mapping of a parsed file.  Its readers never fail: they
// record a mistake in the shared YamlMistakes and leave the target unchanged,
// so that one pass finds everything.  Finish() records the keys that nobody
// asked for.  No exception of yaml-cpp leaves these functions.
//
// Thread safety: none needed; a file is read by one thread.

#ifndef SERVER_CONFIG_YAML_MAP_H_
#define SERVER_CONFIG_YAML_MAP_H_

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "yaml-cpp/yaml.h"

namespace heatkv::server {

// The mistakes of one file, in the order of their lines.
class YamlMistakes {
 public:
  explicit YamlMistakes(std::string file) : file_(std::move(file)) {}

  void Add(const YAML::Node& where, absl::string_view what);
  bool empty() const { return mistakes_.empty(); }

  // OK, or InvalidArgument with one line for each mistake:
  //   FILE:LINE:COLUMN: what
  absl::Status ToStatus() const;

 private:
  struct Mistake {
    int line;
    int column;
    std::string what;
  };
  std::string file_;
  std::vector<Mistake> mistakes_;
};

// Parses one document.  NotFound if `file` cannot be read; InvalidArgument with
// line and column if it is not YAML.
absl::StatusOr<YAML::Node> ParseYamlFile(const std::filesystem::path& file);
absl::StatusOr<YAML::Node> ParseYaml(const std::string& text,
                                     absl::string_view file);

class YamlMap {
 public:
  // `path` names the mapping in messages ("transformer"); empty for the root.
  // A node that is no mapping is recorded as a mistake and reads as empty.
  YamlMap(const YAML::Node& node, std::string path, YamlMistakes* mistakes);

  // Each Read* returns true if the key was there and its value was good.  With
  // kRequired, a missing key is a mistake.
  enum Presence { kRequired, kOptional };

  bool ReadString(absl::string_view key, Presence presence, std::string* out);
  bool ReadBool(absl::string_view key, Presence presence, bool* out);
  // `least` <= value <= `most`.
  bool ReadInt(absl::string_view key, Presence presence, int least, int most,
               int* out);
  bool ReadDouble(absl::string_view key, Presence presence, double least,
                  double most, double* out);
  bool ReadStrings(absl::string_view key, Presence presence,
                   std::vector<std::string>* out);
  bool ReadInts(absl::string_view key, Presence presence, int least, int most,
                std::vector<int>* out);
  // "512 KiB", "1.5 GiB", "4096 B"; a bare number is a mistake (which unit?).
  bool ReadBytes(absl::string_view key, Presence presence, std::int64_t* out);
  // "30s", "250 ms", "5 min", in seconds.
  bool ReadSeconds(absl::string_view key, Presence presence, double* out);

  // The raw node below `key`, for what has its own reader.
  std::optional<YAML::Node> ReadNode(absl::string_view key, Presence presence);

  // "transformer.width"
  std::string PathOf(absl::string_view key) const;
  const YAML::Node& node() const { return node_; }

  void Finish();

 private:
  YAML::Node node_;
  std::string path_;
  YamlMistakes* mistakes_;
  std::set<std::string, std::less<>> asked_;
};

// The text forms of the two units, shared with command-line flags.
// InvalidArgument says what was expected.
absl::StatusOr<std::int64_t> ParseBytes(absl::string_view text);
absl::StatusOr<double> ParseSeconds(absl::string_view text);

}  // namespace heatkv::server

#endif  // SERVER_CONFIG_YAML_MAP_H_
