#include "client/bench/summary.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/readable_bytes.h"
#include "client/progress.h"

namespace heatkv::client {
namespace {

using nlohmann::ordered_json;

constexpr int kReasonsShown = 10;

bool IsComplete(const RequestRecord& record) {
  return record.status == "OK" &&
         static_cast<int>(record.images.size()) == record.images_asked;
}

ordered_json ToJson(const Spread& spread) {
  return {{"count", spread.count}, {"mean", spread.mean}, {"p50", spread.p50},
          {"p95", spread.p95},     {"p99", spread.p99},   {"max", spread.max}};
}

std::string Counts(const std::map<std::string, int>& counts) {
  return absl::StrJoin(counts, ", ", [](std::string* out, const auto& entry) {
    absl::StrAppend(out, entry.second, " ",
                    entry.first.empty() ? "none" : entry.first);
  });
}

std::string Line(const char* name, const Spread& spread) {
  if (spread.count == 0) return "";
  return absl::StrFormat("%-18s p50 %8.3f s   p95 %8.3f s   p99 %8.3f s\n",
                         name, spread.p50, spread.p95, spread.p99);
}

}  // namespace

int Summary::unintended_count() const {
  int count = 0;
  for (const auto& [reason, number] : unintended) count += number;
  return count;
}

Summary Summarize(const std::vector<RequestRecord>& records,
                  double wall_seconds, double latency_limit) {
  Summary sum;
  sum.wall_seconds = wall_seconds;
  sum.latency_limit = latency_limit;
  std::vector<double> latency, slow_latency, preview, picture, queued;
  int stayed = 0, good = 0;
  std::size_t good_images = 0;
  for (const RequestRecord& record : records) {
    ++sum.requests;
    ++sum.statuses[record.status];
    sum.images += static_cast<int>(record.images.size());
    sum.refused += record.was_accepted ? 0 : 1;
    sum.slow += record.plan.fault == Fault::kSlow ? 1 : 0;
    if (record.has_left) {
      ++(record.plan.fault == Fault::kVanish ? sum.vanished : sum.cancelled);
    }
    if (!record.granted_tier.empty()) {
      ++sum.granted_tiers[record.granted_tier];
      sum.lower_tiers += record.granted_tier != record.asked_tier ? 1 : 0;
    }
    sum.peak_held_bytes = std::max(sum.peak_held_bytes, record.peak_held_bytes);
    sum.plan_errors += record.plan_errors;
    if (const std::string why = WhyUnintended(record); !why.empty()) {
      ++sum.unintended[why];
    }
    stayed += record.has_left ? 0 : 1;
    if (!IsComplete(record)) continue;
    ++sum.completed;
    if (record.latency <= latency_limit) {
      good_images += record.images.size();
      good += record.has_left ? 0 : 1;
    }
    if (record.plan.fault == Fault::kSlow) {
      slow_latency.push_back(record.latency);
      continue;
    }
    latency.push_back(record.latency);
    if (record.first_preview) preview.push_back(*record.first_preview);
    if (record.first_picture) picture.push_back(*record.first_picture);
    if (record.queued) queued.push_back(*record.queued);
  }
  if (wall_seconds > 0) {
    sum.throughput = sum.images / wall_seconds;
    sum.goodput = static_cast<double>(good_images) / wall_seconds;
  }
  sum.completed_within_limit = stayed > 0 ? 1.0 * good / stayed : 0;
  sum.latency = SpreadOf(std::move(latency));
  sum.slow_latency = SpreadOf(std::move(slow_latency));
  sum.first_preview = SpreadOf(std::move(preview));
  sum.first_picture = SpreadOf(std::move(picture));
  sum.queued = SpreadOf(std::move(queued));
  return sum;
}

std::string ToText(const Summary& sum) {
  std::string text = absl::StrFormat(
      "%d requests, %d completed, %d images in %.2f s\n"
      "throughput         %.3f images/s\n",
      sum.requests, sum.completed, sum.images, sum.wall_seconds,
      sum.throughput);
  if (std::isfinite(sum.latency_limit)) {
    absl::StrAppendFormat(&text,
                          "goodput            %.3f images/s within %.2f s "
                          "(%.1f %% of requests)\n",
                          sum.goodput, sum.latency_limit,
                          100 * sum.completed_within_limit);
  }
  absl::StrAppend(&text, Line("latency", sum.latency),
                  Line("of slow readers", sum.slow_latency),
                  Line("first preview", sum.first_preview),
                  Line("first picture", sum.first_picture),
                  Line("waited for room", sum.queued));
  absl::StrAppend(&text, "peak of one image  ",
                  ReadableBytes(sum.peak_held_bytes), "\nby status          ",
                  Counts(sum.statuses), "\nby granted tier    ",
                  Counts(sum.granted_tiers));
  if (sum.lower_tiers > 0) {
    absl::StrAppend(&text, " (", sum.lower_tiers, " lower than asked for)");
  }
  absl::StrAppend(&text, "\nrefused ", sum.refused, ", cancelled ",
                  sum.cancelled, ", vanished ", sum.vanished, ", slow readers ",
                  sum.slow, ", plan errors ", sum.plan_errors, "\n");
  int shown = 0;
  for (const auto& [reason, count] : sum.unintended) {
    if (++shown > kReasonsShown) {
      absl::StrAppend(&text, "and ", sum.unintended.size() - kReasonsShown,
                      " reasons more\n");
      break;
    }
    absl::StrAppend(&text, "not as intended: ", count, " x ", reason, "\n");
  }
  return text;
}

ordered_json ToJson(const Summary& sum) {
  ordered_json json = {{"wall_seconds", sum.wall_seconds},
                       {"requests", sum.requests},
                       {"completed", sum.completed},
                       {"images", sum.images},
                       {"images_per_second", sum.throughput}};
  if (std::isfinite(sum.latency_limit)) {
    json["latency_limit_seconds"] = sum.latency_limit;
    json["goodput_images_per_second"] = sum.goodput;
    json["completed_within_limit"] = sum.completed_within_limit;
  }
  json.update({{"latency_seconds", ToJson(sum.latency)},
               {"slow_reader_latency_seconds", ToJson(sum.slow_latency)},
               {"first_preview_seconds", ToJson(sum.first_preview)},
               {"first_picture_seconds", ToJson(sum.first_picture)},
               {"queued_seconds", ToJson(sum.queued)},
               {"peak_held_bytes", sum.peak_held_bytes},
               {"statuses", sum.statuses},
               {"granted_tiers", sum.granted_tiers},
               {"lower_tiers", sum.lower_tiers},
               {"refused", sum.refused},
               {"cancelled", sum.cancelled},
               {"vanished", sum.vanished},
               {"slow", sum.slow},
               {"plan_errors", sum.plan_errors},
               {"unintended", sum.unintended}});
  return json;
}

}  // namespace heatkv::client
