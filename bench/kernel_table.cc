#include "bench/kernel_table.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace heatkv::server {
namespace {

constexpr int kNameLength = 100;

// Of events ordered by their beginnings, cut to what lies in [begin, end).
DeviceSpan SpanOf(const std::vector<DeviceEvent>& events, std::int64_t begin,
                  std::int64_t end) {
  std::int64_t busy = 0;
  std::int64_t done = begin;
  for (const DeviceEvent& event : events) {
    const std::int64_t from = std::max(event.begin, done);
    const std::int64_t to = std::min(event.end, end);
    if (to <= from) continue;
    busy += to - from;
    done = to;
  }
  return {.wall_microseconds = (end - begin) / 1e3,
          .busy_microseconds = busy / 1e3};
}

nlohmann::json SpanJson(const DeviceSpan& span) {
  return {{"wall_us", span.wall_microseconds},
          {"busy_us", span.busy_microseconds},
          {"idle_us", span.idle_microseconds()}};
}

}  // namespace

std::string KernelName(const std::string& full, int length) {
  absl::string_view name = full;
  if (absl::StartsWith(name, "void ")) name.remove_prefix(5);
  // The parameters are the last pair of parentheses on the outermost level; in
  // an unnamed namespace's name they are not.
  if (absl::EndsWith(name, ")")) {
    int depth = 0;
    for (std::size_t i = name.size(); i-- > 0;) {
      if (name[i] == ')') ++depth;
      if (name[i] == '(' && --depth == 0) {
        // "Memcpy HtoD (Pinned -> Device)" has none.
        if (i > 0 && name[i - 1] != ' ') name = name.substr(0, i);
        break;
      }
    }
  }
  const auto size = static_cast<int>(name.size());
  if (size <= length) return std::string(name);
  const int head = (length - 3) * 2 / 3;
  return absl::StrCat(name.substr(0, head), "...",
                      name.substr(size - (length - 3 - head)));
}

KernelTable MakeKernelTable(std::vector<DeviceEvent> events,
                            const std::string& marker) {
  KernelTable table;
  if (events.empty()) return table;
  std::sort(events.begin(), events.end(),
            [](const DeviceEvent& a, const DeviceEvent& b) {
              return a.begin < b.begin;
            });
  std::map<std::string, KernelRow> rows;
  std::int64_t end = events[0].end;
  std::vector<std::int64_t> cuts;
  for (const DeviceEvent& event : events) {
    KernelRow& row = rows[KernelName(event.name, kNameLength)];
    ++row.calls;
    row.microseconds += (event.end - event.begin) / 1e3;
    end = std::max(end, event.end);
    if (absl::StrContains(event.name, marker)) cuts.push_back(event.end);
  }
  for (auto& [name, row] : rows) {
    row.name = name;
    table.rows.push_back(row);
  }
  std::sort(table.rows.begin(), table.rows.end(),
            [](const KernelRow& a, const KernelRow& b) {
              return a.microseconds > b.microseconds;
            });
  table.all = SpanOf(events, events[0].begin, end);
  cuts.push_back(end);
  std::int64_t from = events[0].begin;
  for (const std::int64_t cut : cuts) {
    if (cut > from) table.parts.push_back(SpanOf(events, from, cut));
    from = cut;
  }
  return table;
}

nlohmann::json ToJson(const KernelTable& table) {
  nlohmann::json json = SpanJson(table.all);
  for (const KernelRow& row : table.rows) {
    json["kernels"].push_back(
        {{"name", row.name},
         {"calls", row.calls},
         {"us", row.microseconds},
         {"share", row.microseconds / table.all.wall_microseconds}});
  }
  for (const DeviceSpan& part : table.parts) {
    json["parts"].push_back(SpanJson(part));
  }
  return json;
}

std::string ToText(const KernelTable& table, int rows) {
  std::string text = absl::StrFormat(
      "the device's time: %.1f ms, of which it did nothing for %.1f ms\n"
      "%8s %12s %7s  kernel\n",
      table.all.wall_microseconds / 1e3, table.all.idle_microseconds() / 1e3,
      "calls", "us", "share");
  for (const KernelRow& row : table.rows) {
    if (rows-- == 0) break;
    absl::StrAppendFormat(
        &text, "%8d %12.1f %6.1f%%  %s\n", row.calls, row.microseconds,
        100 * row.microseconds / table.all.wall_microseconds, row.name);
  }
  absl::StrAppendFormat(&text, "%8s %12s %12s   (the last: decoding)\n",
                        "scale", "us", "idle us");
  for (std::size_t i = 0; i < table.parts.size(); ++i) {
    absl::StrAppendFormat(&text, "%8d %12.1f %12.1f\n", i + 1,
                          table.parts[i].wall_microseconds,
                          table.parts[i].idle_microseconds());
  }
  return text;
}

}  // namespace heatkv::server
