// A configuration as a list of keys and values: what is printed as YAML, and
// what two configurations are compared by.
//
// Pure functions of plain values.  Thread safety: stateless.

#ifndef SERVER_CONFIG_CONFIG_ENTRIES_H_
#define SERVER_CONFIG_CONFIG_ENTRIES_H_

#include <string>
#include <vector>

#include "server/config/server_config.h"

namespace heatkv::server {

struct ConfigEntry {
  std::string section;  // "limits"; empty for keys of the whole file
  std::string key;
  std::string value;  // as YAML
  // A running server can change it.
  bool is_live = false;

  std::string path() const {
    return section.empty() ? key : section + "." + key;
  }
};

// Every key, in the order of deploy/heatkv.yaml; those of a section together.
std::vector<ConfigEntry> ConfigEntries(const ServerConfig& config);

struct ConfigDifference {
  std::string key;     // "limits.max_images"
  std::string before;  // as YAML; empty if it was not there
  std::string after;   // empty if it is not there any more
  bool is_live = false;

  friend bool operator==(const ConfigDifference&,
                         const ConfigDifference&) = default;
};

// Keys whose values differ, in the order of the keys; those that are gone come
// last.
std::vector<ConfigDifference> CompareConfigs(const ServerConfig& before,
                                             const ServerConfig& after);

}  // namespace heatkv::server

#endif  // SERVER_CONFIG_CONFIG_ENTRIES_H_
