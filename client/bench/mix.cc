#include "client/bench/mix.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/bench/draws.h"
#include "client/request_fields.h"
#include "nlohmann/json.hpp"

namespace heatkv::client {
namespace {

using nlohmann::json;

// Seeds stay below this, so that every program reads them exactly.
constexpr std::uint64_t kSeedLimit = std::uint64_t{1} << 48;

// What is wrong with the line; empty if nothing is.
std::string ReadLine(absl::string_view line, MixEntry* entry) {
  const json value = json::parse(line.begin(), line.end(), nullptr,
                                 /*allow_exceptions=*/false);
  if (!value.is_object()) return "is no JSON object";
  for (const auto& [key, member] : value.items()) {
    if (key == "id") {
      if (!member.is_string()) return "id must be text";
      entry->id = member.get<std::string>();
    } else if (key == "weight") {
      if (!member.is_number() || !(member.get<double>() > 0)) {
        return "weight must be a number above 0";
      }
      entry->weight = member.get<double>();
    } else if (std::string wrong = SetField(key, member, &entry->request);
               !wrong.empty()) {
      return wrong;
    }
  }
  return entry->request.prompt().empty() ? "has no prompt" : "";
}

template <typename Read>
absl::StatusOr<std::vector<MixEntry>> ReadLines(
    absl::string_view text, const v1::GenerateImageRequest& defaults,
    const Read& read) {
  std::vector<MixEntry> entries;
  std::vector<std::string> mistakes;
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    const absl::string_view content = absl::StripAsciiWhitespace(line);
    if (content.empty()) continue;
    MixEntry entry;
    entry.id = absl::StrCat("line ", number);
    entry.request = defaults;
    const std::string wrong = read(content, &entry);
    if (wrong.empty()) {
      entries.push_back(std::move(entry));
    } else {
      mistakes.push_back(absl::StrCat("line ", number, ": ", wrong));
    }
  }
  if (mistakes.empty() && entries.empty()) {
    mistakes.push_back("there is no line with a request");
  }
  if (!mistakes.empty()) {
    return absl::InvalidArgumentError(absl::StrJoin(mistakes, "\n"));
  }
  return entries;
}

}  // namespace

absl::StatusOr<std::vector<MixEntry>> ParseMix(
    absl::string_view text, const v1::GenerateImageRequest& defaults) {
  return ReadLines(text, defaults, ReadLine);
}

absl::StatusOr<std::vector<MixEntry>> ParsePrompts(
    absl::string_view text, const v1::GenerateImageRequest& defaults) {
  return ReadLines(text, defaults, [](absl::string_view line, MixEntry* entry) {
    entry->request.set_prompt(std::string(line));
    return std::string();
  });
}

std::vector<MixEntry> DefaultPrompts(const v1::GenerateImageRequest& defaults) {
  return *ParsePrompts(
      "a red apple on a blue background\n"
      "three cats on a green background\n"
      "an owl to the left of a guitar\n"
      "a purple fire engine\n"
      "a horse on grass under a blue sky\n"
      "two houses on a yellow background\n",
      defaults);
}

Mix::Mix(std::vector<MixEntry> entries, FieldChoices choices,
         std::uint64_t seed)
    : entries_(std::move(entries)), choices_(std::move(choices)), seed_(seed) {
  double sum = 0;
  for (const MixEntry& entry : entries_) up_to_.push_back(sum += entry.weight);
}

Mix Mix::Replay(std::vector<MixEntry> entries, std::uint64_t seed) {
  Mix mix(std::move(entries), {}, seed);
  mix.is_replay_ = true;
  return mix;
}

std::optional<int> Mix::size() const {
  if (!is_replay_) return std::nullopt;
  return static_cast<int>(entries_.size());
}

const MixEntry& Mix::Choose(int index) const {
  if (is_replay_) return entries_[index];
  const double x =
      Draws(seed_, Purpose::kTemplate, index).NextUnit() * up_to_.back();
  const auto found = std::upper_bound(up_to_.begin(), up_to_.end(), x);
  return entries_[std::min<std::size_t>(found - up_to_.begin(),
                                        entries_.size() - 1)];
}

MixRequest Mix::At(int index) const {
  const MixEntry& entry = Choose(index);
  MixRequest drawn{entry.id, entry.request};
  v1::GenerateImageRequest& request = drawn.request;
  if (!request.has_seed() && request.seeds().empty()) {
    request.set_seed(Draws(seed_, Purpose::kSeed, index).Next() % kSeedLimit);
  }
  if (is_replay_) return drawn;
  // One number for each field, drawn or not: a list that is added changes no
  // other field.
  Draws draws(seed_, Purpose::kFields, index);
  const auto pick = [&](const auto& list, const auto& set) {
    const std::size_t i =
        draws.NextIndex(std::max<std::size_t>(list.size(), 1));
    if (!list.empty()) set(list[i]);
  };
  pick(choices_.tiers, [&](const auto& tier) { request.set_tier(tier); });
  pick(choices_.aspects,
       [&](const auto& aspect) { request.mutable_size()->set_aspect(aspect); });
  pick(choices_.tenants,
       [&](const auto& tenant) { request.set_tenant(tenant); });
  pick(choices_.priorities,
       [&](v1::Priority priority) { request.set_priority(priority); });
  pick(choices_.guidances,
       [&](double guidance) { request.set_guidance(guidance); });
  pick(choices_.images, [&](int n) { request.set_n(n); });
  const double preview = draws.NextUnit();
  if (choices_.preview_share >= 0) {
    request.clear_previews();
    if (preview < choices_.preview_share) {
      request.mutable_previews()->set_every_scale(true);
    }
  }
  return drawn;
}

}  // namespace heatkv::client
