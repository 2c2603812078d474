// The forms in which a simulation is printed.

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/plan_simulation.h"

namespace heatkv::client {
namespace {

using Json = nlohmann::ordered_json;
using server::Outcome;

constexpr int kBarColumns = 72;

double Mebibytes(std::int64_t bytes) { return bytes / (1024.0 * 1024.0); }

// "12 / 80": by the sum of peaks, and by safe states.
std::string CellText(const CapacityCell& cell) {
  return absl::StrCat(cell.by_peaks, " / ", cell.safe);
}

std::string Seconds(double seconds) { return absl::StrFormat("%.3f", seconds); }

std::string LoadText(const SimulationPlan& plan) {
  const std::string pool =
      absl::StrFormat("a pool of %.2f MiB, at most %d images in flight",
                      Mebibytes(plan.pool_bytes), plan.max_running);
  if (plan.rate == 0) {
    return absl::StrFormat("%d requests, saturated: 32 always wait; %s",
                           plan.requests, pool);
  }
  return absl::StrFormat(
      "%d requests, %.3f a second, %.0f %% of the %.3f that the device can do "
      "(policy latency); %s",
      plan.requests, plan.rate, 100 * plan.rate / plan.saturated_rate,
      plan.saturated_rate, pool);
}

constexpr char kCapacityNote[] =
    "Images at once: by the sum of peaks / by safe states, when all have the "
    "small scales behind them that run in groups, and one at a time goes on.";

Json ToJson(const Spread& seconds) {
  return {{"count", seconds.count},
          {"p50", seconds.p50},
          {"p95", seconds.p95},
          {"p99", seconds.p99},
          {"mean", seconds.mean}};
}

Json ToJson(const SimulationRun& run, const SimulationPlan& plan) {
  const server::SimulationReport& report = run.report;
  Json trace = Json::array();
  for (const auto& interval : report.trace.Intervals()) {
    trace.push_back({interval.used_blocks * plan.block_bytes,
                     interval.most_used_blocks * plan.block_bytes,
                     interval.running_images, interval.waiting_images});
  }
  return {{"policy", run.policy},
          {"rule", run.rule},
          {"finished", report.Count(Outcome::kFinished)},
          {"cancelled", report.Count(Outcome::kCancelled)},
          {"refused", report.Count(Outcome::kRefused)},
          {"seconds", absl::ToDoubleSeconds(report.length)},
          {"utilisation", report.utilisation},
          {"images_per_second", report.images_per_second},
          {"mean_in_flight", report.mean_running_images},
          {"most_in_flight", report.most_running_images},
          {"most_used_bytes", report.most_used_blocks * plan.block_bytes},
          {"plan_error_bytes", report.plan_error_blocks * plan.block_bytes},
          {"wait", ToJson(run.summary.wait)},
          {"first_scale", ToJson(run.summary.first_scale)},
          {"latency", ToJson(run.summary.latency)},
          {"trace_interval_seconds",
           absl::ToDoubleSeconds(report.trace.interval_length())},
          {"trace", std::move(trace)}};
}

}  // namespace

std::string ToText(const SimulationPlan& plan) {
  std::string text =
      absl::StrCat(plan.model, ", simulated; steps ", plan.costs, "\n");
  for (const std::string& note : plan.notes) {
    absl::StrAppend(&text, "note: ", note, "\n");
  }
  if (!plan.capacity.empty()) {
    absl::StrAppend(&text, "\n", kCapacityNote, "\n");
    absl::StrAppendFormat(&text, "%-10s %-6s %10s", "size", "tier", "peak MiB");
    for (const std::string& column : plan.columns) {
      absl::StrAppendFormat(&text, " %14s", column);
    }
    text += "\n";
    for (const CapacityRow& row : plan.capacity) {
      absl::StrAppendFormat(&text, "%-10s %-6s", row.size, row.tier);
      if (row.cells.empty()) {
        absl::StrAppend(&text, "  cannot be had: ", row.why_not, "\n");
        continue;
      }
      absl::StrAppendFormat(&text, " %10.1f", Mebibytes(row.peak_bytes));
      for (const CapacityCell& cell : row.cells) {
        absl::StrAppendFormat(&text, " %14s", CellText(cell));
      }
      text += "\n";
    }
  }
  absl::StrAppend(&text, "\n", LoadText(plan), "\n");
  for (const SimulationRun& run : plan.runs) {
    const server::SimulationReport& report = run.report;
    absl::StrAppendFormat(
        &text,
        "\npolicy %s, %s: %d finished, %d cancelled, %d refused in %.1f s; "
        "busy %.1f %%\n"
        "  in flight %.2f on average, %d at most; pool at most %.2f MiB "
        "(%.1f %%); plan error %d blocks\n",
        run.policy, run.rule, report.Count(Outcome::kFinished),
        report.Count(Outcome::kCancelled), report.Count(Outcome::kRefused),
        absl::ToDoubleSeconds(report.length), 100 * report.utilisation,
        report.mean_running_images, report.most_running_images,
        Mebibytes(report.most_used_blocks * plan.block_bytes),
        100.0 * static_cast<double>(report.most_used_blocks) /
            static_cast<double>(plan.pool_blocks),
        report.plan_error_blocks);
    absl::StrAppendFormat(&text, "  %-22s %9s %9s %9s %9s\n", "seconds", "p50",
                          "p95", "p99", "mean");
    for (const auto& [name, p] :
         {std::pair("until it starts", run.summary.wait),
          std::pair("until its first scale", run.summary.first_scale),
          std::pair("until its image", run.summary.latency)}) {
      absl::StrAppendFormat(&text, "  %-22s %9s %9s %9s %9s\n", name,
                            Seconds(p.p50), Seconds(p.p95), Seconds(p.p99),
                            Seconds(p.mean));
    }
  }
  const std::vector<PlottedRun> plotted = ToPlot(plan);
  for (std::size_t i = 0; i < plotted.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "\npool used over time, bar by bar:\n" : "",
                    "  |", OccupancyBars(plotted[i], kBarColumns), "| ",
                    plan.runs[i].policy, ", ", plan.runs[i].rule, "\n");
  }
  return text;
}

std::string ToMarkdown(const SimulationPlan& plan) {
  std::string text;
  if (!plan.capacity.empty()) {
    text = "| size | tier | peak of an image |";
    std::string rule = "|---|---|---|";
    for (const std::string& column : plan.columns) {
      absl::StrAppend(&text, " ", column, " |");
      rule += "---|";
    }
    absl::StrAppend(&text, "\n", rule, "\n");
    for (const CapacityRow& row : plan.capacity) {
      absl::StrAppend(&text, "| ", row.size, " | ", row.tier, " |");
      absl::StrAppend(&text, row.cells.empty()
                                 ? std::string(" – |")
                                 : absl::StrFormat(" %.1f MiB |",
                                                   Mebibytes(row.peak_bytes)));
      for (std::size_t i = 0; i < plan.columns.size(); ++i) {
        absl::StrAppend(&text, " ",
                        row.cells.empty() ? "–" : CellText(row.cells[i]), " |");
      }
      text += "\n";
    }
    absl::StrAppend(&text, "\n", kCapacityNote, "\n\n");
  }
  absl::StrAppend(&text, LoadText(plan), ".\n\n");
  absl::StrAppend(
      &text,
      "| policy, admission | in flight | refused | images/s | first scale p50 "
      "/ p95, s | image p50 / p95 / p99, s |\n|---|---|---|---|---|---|\n");
  for (const SimulationRun& run : plan.runs) {
    absl::StrAppendFormat(
        &text, "| %s, %s | %.1f | %.1f %% | %.3f | %s / %s | %s / %s / %s |\n",
        run.policy, run.rule, run.report.mean_running_images,
        100.0 * run.report.Count(Outcome::kRefused) / plan.requests,
        run.report.images_per_second, Seconds(run.summary.first_scale.p50),
        Seconds(run.summary.first_scale.p95), Seconds(run.summary.latency.p50),
        Seconds(run.summary.latency.p95), Seconds(run.summary.latency.p99));
  }
  absl::StrAppend(&text, "\nSteps ", plan.costs, ".\n");
  return text;
}

Json ToJson(const SimulationPlan& plan) {
  Json capacity = Json::array();
  for (const CapacityRow& row : plan.capacity) {
    Json cells = Json::array();
    for (std::size_t i = 0; i < row.cells.size(); ++i) {
      cells.push_back({{"pool_bytes", plan.pools[i]},
                       {"sum_of_peaks", row.cells[i].by_peaks},
                       {"safe_states", row.cells[i].safe}});
    }
    capacity.push_back({{"size", row.size},
                        {"tier", row.tier},
                        {"peak_bytes", row.peak_bytes},
                        {"pools", std::move(cells)}});
  }
  Json runs = Json::array();
  for (const SimulationRun& run : plan.runs) runs.push_back(ToJson(run, plan));
  return {{"model", plan.model},
          {"costs", plan.costs},
          {"notes", plan.notes},
          {"capacity", std::move(capacity)},
          {"pool_bytes", plan.pool_bytes},
          {"max_in_flight", plan.max_running},
          {"requests", plan.requests},
          {"requests_per_second", plan.rate},
          {"saturated_images_per_second", plan.saturated_rate},
          {"runs", std::move(runs)}};
}

std::vector<PlottedRun> ToPlot(const SimulationPlan& plan) {
  std::vector<PlottedRun> plotted;
  for (const SimulationRun& run : plan.runs) {
    plotted.push_back(
        {.title = absl::StrCat(
             plan.model, ": policy ", run.policy, ", ", run.rule,
             plan.rate == 0
                 ? ", saturated"
                 : absl::StrFormat(", load %.0f %%",
                                   100 * plan.rate / plan.saturated_rate)),
         .trace = run.report.trace,
         .limit_blocks = plan.pool_blocks,
         .block_bytes = plan.block_bytes});
  }
  return plotted;
}

}  // namespace heatkv::client
