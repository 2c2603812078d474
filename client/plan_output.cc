// The two forms in which a plan is printed.

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cache/geometry.h"
#include "calibration/schedule_file.h"
#include "client/plan_report.h"

namespace heatkv::client {
namespace {

using Json = nlohmann::ordered_json;

double Mebibytes(std::int64_t bytes) { return bytes / (1024.0 * 1024.0); }

double PeakShare(const cache::Trajectory& trajectory) {
  return static_cast<double>(trajectory.peak_bytes()) /
         static_cast<double>(trajectory.full_cache_bytes());
}

}  // namespace

std::string ToTable(const PlanReport& report) {
  const cache::Schedule& schedule = *report.schedule;
  const cache::Trajectory& trajectory = report.trajectory;
  const cache::ScaleLadder& ladder = schedule.ladder();
  const cache::CacheGeometry& geometry = trajectory.geometry();
  const cache::Grid& last = ladder.grid(ladder.num_scales() - 1);
  const double full = static_cast<double>(trajectory.full_cache_bytes());

  std::string text = absl::StrFormat(
      "%s, %s at %s: %dx%d pixels, %d scales (%d sinks), %d layers of %d "
      "heads\n",
      report.model, report.ladder.aspect, report.ladder.pixel_class,
      last.height * report.pixels_per_token,
      last.width * report.pixels_per_token, ladder.num_scales(),
      ladder.sink_scales(), geometry.layers, geometry.heads);
  absl::StrAppendFormat(
      &text,
      "budget %s: %.1f of %d tokens a head; %d branch%s, %d bytes a value\n",
      schedule.budget().ToString(), schedule.budget().tokens_a_head(ladder),
      ladder.full_tokens(), trajectory.branches(),
      trajectory.branches() == 1 ? "" : "es", geometry.bytes_per_value);
  absl::StrAppend(&text, "policy ", schedule.policy(), ", schedule ",
                  calibration::ScheduleSha256(schedule), "\n");
  if (!report.ranking.empty()) {
    absl::StrAppend(&text, "ranking ", report.ranking, "\n");
  }
  for (const std::string& note : report.notes) {
    absl::StrAppend(&text, "note: ", note, "\n");
  }

  absl::StrAppendFormat(&text, "\n%5s %9s %7s %8s %6s %8s %10s %10s %10s %7s\n",
                        "scale", "grid", "tokens", "dropped", "early",
                        "missing", "peak", "after", "peak MiB", "of full");
  for (int t = 0; t < ladder.num_scales(); ++t) {
    const std::int64_t peak = trajectory.blocks_peak(t);
    absl::StrAppendFormat(
        &text, "%5d %9s %7d %8d %6d %8d %10d %10d %10.2f %6.2f%%\n", t,
        absl::StrCat(ladder.grid(t).height, "x", ladder.grid(t).width),
        ladder.tokens(t), schedule.heads_dropped(t),
        schedule.early_drops(t).size(), schedule.removed_total(t), peak,
        trajectory.blocks_after(t), Mebibytes(trajectory.bytes(peak)),
        100.0 * static_cast<double>(trajectory.bytes(peak)) / full);
  }
  absl::StrAppendFormat(
      &text,
      "\npeak %d blocks = %.2f MiB, %.3f%% of the full cache of %.2f MiB "
      "(%.4f x the budget)\n"
      "dropped: heads that drop each source scale; early: segments that leave "
      "ahead of their\nlayer; missing: segments that attention does not find; "
      "peak, after: blocks of %d tokens.\n",
      trajectory.peak_blocks(), Mebibytes(trajectory.peak_bytes()),
      100.0 * PeakShare(trajectory), Mebibytes(trajectory.full_cache_bytes()),
      PeakShare(trajectory) / schedule.budget().fraction(),
      cache::kBlockTokens);
  return text;
}

Json ToJson(const PlanReport& report) {
  const cache::Trajectory& trajectory = report.trajectory;
  const cache::ScaleLadder& ladder = report.schedule->ladder();
  Json scales = Json::array();
  for (int t = 0; t < ladder.num_scales(); ++t) {
    Json scale = Json::object();
    scale["scale"] = t;
    scale["grid"] = {ladder.grid(t).height, ladder.grid(t).width};
    scale["tokens"] = ladder.tokens(t);
    scale["blocks_before"] = trajectory.blocks_before(t);
    scale["blocks_peak"] = trajectory.blocks_peak(t);
    scale["blocks_after"] = trajectory.blocks_after(t);
    scale["bytes_peak"] = trajectory.bytes(trajectory.blocks_peak(t));
    scale["bytes_after"] = trajectory.bytes(trajectory.blocks_after(t));
    scales.push_back(std::move(scale));
  }
  Json plan = Json::object();
  plan["aspect"] = report.ladder.aspect;
  plan["pixel_class"] = report.ladder.pixel_class;
  plan["branches"] = trajectory.branches();
  plan["block_tokens"] = cache::kBlockTokens;
  plan["block_bytes"] = trajectory.geometry().block_bytes();
  plan["full_cache_bytes"] = trajectory.full_cache_bytes();
  plan["peak_blocks"] = trajectory.peak_blocks();
  plan["peak_bytes"] = trajectory.peak_bytes();
  plan["peak_share"] = PeakShare(trajectory);
  plan["scales"] = std::move(scales);

  Json file = calibration::ScheduleToJson(report.model, *report.schedule);
  file["plan"] = std::move(plan);
  return file;
}

}  // namespace heatkv::client
