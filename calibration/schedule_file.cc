#include "calibration/schedule_file.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "calibration/json_text.h"
#include "calibration/sha256.h"

namespace heatkv::calibration {
namespace {

using Json = nlohmann::ordered_json;

// begin, begin + 1, ... in the order in which their decimal texts sort ("10"
// before "2"), as sort_keys puts them.
std::vector<int> SortedAsText(int begin, int end) {
  std::vector<int> numbers(std::max(0, end - begin));
  std::iota(numbers.begin(), numbers.end(), begin);
  std::sort(numbers.begin(), numbers.end(),
            [](int a, int b) { return absl::StrCat(a) < absl::StrCat(b); });
  return numbers;
}

std::vector<int> RemovedHeads(const cache::Schedule& schedule, int target,
                              int source, int layer) {
  std::vector<int> heads;
  for (int head = 0; head < schedule.heads(); ++head) {
    if (schedule.IsRemoved(target, source, {.layer = layer, .head = head})) {
      heads.push_back(head);
    }
  }
  return heads;
}

// The heads as one hexadecimal number, most significant digit first.
std::string Mask(const std::vector<int>& heads, int heads_a_layer) {
  std::string digits((heads_a_layer + 3) / 4, '0');
  for (const int head : heads) {
    char& digit = digits[digits.size() - 1 - head / 4];
    const int value =
        (digit <= '9' ? digit - '0' : digit - 'a' + 10) | (1 << (head % 4));
    digit = "0123456789abcdef"[value];
  }
  return digits;
}

}  // namespace

std::string ScheduleSha256(const cache::Schedule& schedule) {
  const cache::ScaleLadder& ladder = schedule.ladder();
  Json removed = Json::object();
  for (const int t : SortedAsText(0, ladder.num_scales())) {
    Json& at_target = removed[absl::StrCat(t)] = Json::object();
    for (const int s :
         SortedAsText(ladder.first_prunable(), ladder.end_prunable())) {
      Json& of_source = at_target[absl::StrCat(s)] = Json::object();
      for (const int layer : SortedAsText(0, schedule.layers())) {
        of_source[absl::StrCat(layer)] = RemovedHeads(schedule, t, s, layer);
      }
    }
  }
  return Sha256Hex(ToPythonText(removed));
}

Json ScheduleToJson(std::string_view model, const cache::Schedule& schedule) {
  const cache::ScaleLadder& ladder = schedule.ladder();
  Json dropped = Json::object();
  Json early = Json::object();
  Json total = Json::object();
  Json masks = Json::object();
  for (int t = 0; t < ladder.num_scales(); ++t) {
    const std::string target = absl::StrCat(t);
    dropped[target] = schedule.heads_dropped(t);
    early[target] = schedule.early_drops(t).size();
    total[target] = schedule.removed_total(t);
    masks[target] = Json::object();
    for (int s = ladder.first_prunable(); s < ladder.end_prunable(); ++s) {
      std::string text;
      for (int layer = 0; layer < schedule.layers(); ++layer) {
        text += Mask(RemovedHeads(schedule, t, s, layer), schedule.heads());
      }
      masks[target][absl::StrCat(s)] = text;
    }
  }
  Json file = Json::object();
  file["model"] = model;
  file["budget"] = schedule.budget().fraction();
  file["sink_scales"] = ladder.sink_scales();
  file["heads_dropped_per_source_scale"] = std::move(dropped);
  file["early_pruned_atoms"] = std::move(early);
  file["removed_total"] = std::move(total);
  file["sha256"] = ScheduleSha256(schedule);
  file["removed_head_masks"] = std::move(masks);
  return file;
}

}  // namespace heatkv::calibration
