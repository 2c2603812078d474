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
constexpr std::size_t kRowsOfPart = 16;

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

// Kernels by their shortened names.
class RowSums {
 public:
  void Add(const DeviceEvent& event) {
    KernelRow& row = rows_[KernelName(event.name, kNameLength)];
    ++row.calls;
    row.microseconds += (event.end - event.begin) / 1e3;
  }

  // Most time first.
  std::vector<KernelRow> Sorted() const {
    std::vector<KernelRow> sorted;
    for (const auto& [name, row] : rows_) {
      sorted.push_back(row);
      sorted.back().name = name;
    }
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const KernelRow& a, const KernelRow& b) {
                       return a.microseconds > b.microseconds;
                     });
    return sorted;
  }

 private:
  std::map<std::string, KernelRow> rows_;
};

nlohmann::json RowJson(const KernelRow& row) {
  return {{"name", row.name}, {"calls", row.calls}, {"us", row.microseconds}};
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
  RowSums all;
  std::int64_t end = events[0].end;
  std::vector<std::int64_t> cuts;
  for (const DeviceEvent& event : events) {
    all.Add(event);
    end = std::max(end, event.end);
    if (absl::StrContains(event.name, marker)) cuts.push_back(event.end);
  }
  table.rows = all.Sorted();
  table.all = SpanOf(events, events[0].begin, end);
  std::sort(cuts.begin(), cuts.end());
  const std::size_t scales = cuts.size();
  cuts.push_back(end);
  std::vector<RowSums> sums(cuts.size());
  for (const DeviceEvent& event : events) {
    // The marker belongs to the part that it ends.
    const auto cut = std::lower_bound(cuts.begin(), cuts.end(), event.end);
    sums[cut - cuts.begin()].Add(event);
  }
  std::int64_t from = events[0].begin;
  for (std::size_t i = 0; i < cuts.size(); ++i) {
    if (cuts[i] <= from) continue;
    table.parts.push_back(
        {.name = i < scales ? absl::StrCat("scale ", i + 1) : "decode",
         .span = SpanOf(events, from, cuts[i]),
         .rows = sums[i].Sorted()});
    from = cuts[i];
  }
  return table;
}

nlohmann::json ToJson(const KernelTable& table) {
  nlohmann::json json = SpanJson(table.all);
  for (const KernelRow& row : table.rows) {
    nlohmann::json kernel = RowJson(row);
    kernel["share"] = row.microseconds / table.all.wall_microseconds;
    json["kernels"].push_back(std::move(kernel));
  }
  for (const KernelPart& part : table.parts) {
    nlohmann::json entry = SpanJson(part.span);
    entry["part"] = part.name;
    const std::size_t shown = std::min(part.rows.size(), kRowsOfPart);
    for (std::size_t i = 0; i < shown; ++i) {
      entry["kernels"].push_back(RowJson(part.rows[i]));
    }
    json["parts"].push_back(std::move(entry));
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
  absl::StrAppendFormat(&text, "%8s %12s %12s\n", "part", "us", "idle us");
  for (const KernelPart& part : table.parts) {
    absl::StrAppendFormat(&text, "%8s %12.1f %12.1f\n", part.name,
                          part.span.wall_microseconds,
                          part.span.idle_microseconds());
  }
  return text;
}

}  // namespace heatkv::server
