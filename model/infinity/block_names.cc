#include "model/infinity/block_names.h"

#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace heatkv::model {

std::vector<std::string> BlockNames(const std::vector<std::string>& tensors) {
  std::map<std::pair<int, int>, std::string> blocks;  // (chunk, inside)
  for (const std::string& name : tensors) {
    const std::vector<std::string> parts = absl::StrSplit(name, '.');
    int chunk = 0;
    int inside = 0;
    if (parts.size() > 4 && parts[0] == "block_chunks" &&
        parts[2] == "module" && absl::SimpleAtoi(parts[1], &chunk) &&
        absl::SimpleAtoi(parts[3], &inside)) {
      blocks[{chunk, inside}] =
          absl::StrCat("block_chunks.", parts[1], ".module.", parts[3]);
    } else if (parts.size() > 2 && parts[0] == "blocks" &&
               absl::SimpleAtoi(parts[1], &inside)) {
      blocks[{0, inside}] = absl::StrCat("blocks.", parts[1]);
    }
  }
  std::vector<std::string> names;
  names.reserve(blocks.size());
  for (const auto& [place, name] : blocks) names.push_back(name);
  return names;
}

}  // namespace heatkv::model
