#include "client/occupancy_plot.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"

namespace heatkv::client {
namespace {

using Interval = server::OccupancyTrace::Interval;

constexpr double kWidth = 920;
constexpr double kLeft = 78;
constexpr double kRight = 30;
constexpr double kTitle = 44;  // above a run's first panel
constexpr double kPanel = 150;
constexpr double kGap = 30;   // between a run's panels
constexpr double kAxis = 50;  // below its last one
constexpr double kRun = kTitle + 2 * kPanel + kGap + kAxis;

std::string Escaped(const std::string& text) {
  return absl::StrReplaceAll(text,
                             {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
}

// About five steps of 1, 2 or 5 times a power of ten.
double Step(double range) {
  const double rough = std::max(range, 1e-12) / 5;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (rough <= factor * power) return factor * power;
  }
  return 10 * power;
}

// One set of axes; values in their own units.
struct Panel {
  double top = 0;
  double most_x = 1;  // seconds
  double most_y = 1;

  double x(double value) const {
    return kLeft + value / most_x * (kWidth - kLeft - kRight);
  }
  double y(double value) const { return top + kPanel * (1 - value / most_y); }
};

std::string Text(double x, double y, const char* anchor,
                 const std::string& text, const char* more = "") {
  return absl::StrFormat(
      "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>%s</text>\n", x, y,
      anchor, more, Escaped(text));
}

std::string Axes(const Panel& panel, const std::string& label,
                 bool has_time_labels) {
  std::string svg;
  const double step_y = Step(panel.most_y);
  for (double value = 0; value <= panel.most_y * 1.0001; value += step_y) {
    absl::StrAppendFormat(&svg,
                          "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>\n",
                          kLeft, panel.y(value), kWidth - kRight);
    svg += Text(kLeft - 8, panel.y(value) + 4, "end",
                absl::StrFormat("%g", value));
  }
  const double step_x = Step(panel.most_x);
  for (double value = 0; value <= panel.most_x * 1.0001; value += step_x) {
    absl::StrAppendFormat(&svg, "<path class=\"axis\" d=\"M%.1f %.1fv5\"/>\n",
                          panel.x(value), panel.top + kPanel);
    if (has_time_labels) {
      svg += Text(panel.x(value), panel.top + kPanel + 19, "middle",
                  absl::StrFormat("%g", value));
    }
  }
  absl::StrAppendFormat(&svg,
                        "<path class=\"axis\" d=\"M%.1f %.1fV%.1fH%.1f\"/>\n",
                        kLeft, panel.top, panel.top + kPanel, kWidth - kRight);
  const double middle = panel.top + kPanel / 2;
  absl::StrAppendFormat(&svg,
                        "<text x=\"20\" y=\"%.1f\" text-anchor=\"middle\" "
                        "transform=\"rotate(-90 20 %.1f)\">%s</text>\n",
                        middle, middle, Escaped(label));
  return svg;
}

// A line of steps, one for each interval; closed to an area on demand.
std::string Steps(const Panel& panel, const server::OccupancyTrace& trace,
                  const char* style, bool is_area,
                  const std::function<double(const Interval&)>& value) {
  const std::vector<Interval> intervals = trace.Intervals();
  const double width = absl::ToDoubleSeconds(trace.interval_length());
  std::string path;
  for (std::size_t i = 0; i < intervals.size(); ++i) {
    const double end =
        std::min(width * static_cast<double>(i + 1), panel.most_x);
    const double y = panel.y(value(intervals[i]));
    if (i == 0) {
      path = is_area
                 ? absl::StrFormat("M%.1f %.1fV%.1f", panel.x(0), panel.y(0), y)
                 : absl::StrFormat("M%.1f %.1f", panel.x(0), y);
    } else {
      absl::StrAppendFormat(&path, "V%.1f", y);
    }
    absl::StrAppendFormat(&path, "H%.1f", panel.x(end));
  }
  if (path.empty()) return "";
  if (is_area) absl::StrAppendFormat(&path, "V%.1fZ", panel.y(0));
  return absl::StrFormat("<path class=\"%s\" d=\"%s\"/>\n", style, path);
}

struct Sample {
  const char* style;
  const char* name;
  double width;
};

// Samples of the lines with their names, above a panel to the right.
std::string Key(double y, const std::vector<Sample>& samples) {
  std::string svg;
  double x = kWidth - kRight;
  for (const Sample& sample : samples) x -= sample.width;
  for (const Sample& sample : samples) {
    absl::StrAppendFormat(&svg, "<path class=\"%s\" d=\"M%.1f %.1fh22\"/>\n",
                          sample.style, x, y - 4);
    svg += Text(x + 27, y, "start", sample.name);
    x += sample.width;
  }
  return svg;
}

std::string PlotRun(const PlottedRun& run, double top) {
  const double unit = (1 << 30) / static_cast<double>(run.block_bytes);
  const double limit = static_cast<double>(run.limit_blocks) / unit;
  const double end = std::max(absl::ToDoubleSeconds(run.trace.length()), 1e-9);
  double most_images = 1;
  for (const Interval& interval : run.trace.Intervals()) {
    most_images = std::max(
        {most_images, interval.running_images, interval.waiting_images});
  }
  const Panel bytes = {
      .top = top + kTitle, .most_x = end, .most_y = limit * 1.08};
  const Panel images = {.top = bytes.top + kPanel + kGap,
                        .most_x = end,
                        .most_y = most_images * 1.08};
  std::string svg =
      Text(kLeft, top + 24, "start", run.title, " class=\"title\"");
  svg += Key(bytes.top - 6, {{"mean key", "used, mean", 118},
                             {"most", "used, most", 112},
                             {"limit", "limit", 62}});
  svg += Steps(bytes, run.trace, "mean", true,
               [&](const Interval& i) { return i.used_blocks / unit; });
  svg += Axes(bytes, "pool, GiB", false);
  svg += Steps(bytes, run.trace, "most", false, [&](const Interval& i) {
    return static_cast<double>(i.most_used_blocks) / unit;
  });
  absl::StrAppendFormat(&svg, "<path class=\"limit\" d=\"M%.1f %.1fH%.1f\"/>\n",
                        kLeft, bytes.y(limit), kWidth - kRight);
  svg += Key(images.top - 6,
             {{"running", "in flight", 104}, {"waiting", "waiting", 80}});
  svg += Axes(images, "images", true);
  svg += Steps(images, run.trace, "waiting", false,
               [](const Interval& i) { return i.waiting_images; });
  svg += Steps(images, run.trace, "running", false,
               [](const Interval& i) { return i.running_images; });
  svg += Text((kLeft + kWidth - kRight) / 2, images.top + kPanel + 40, "middle",
              "simulated time, s");
  return svg;
}

}  // namespace

std::string OccupancyBars(const PlottedRun& run, int columns) {
  static constexpr const char* kBars[] = {" ", "▁", "▂", "▃", "▄",
                                          "▅", "▆", "▇", "█"};
  const std::vector<Interval> intervals = run.trace.Intervals();
  const double width = absl::ToDoubleSeconds(run.trace.interval_length());
  const double end = absl::ToDoubleSeconds(run.trace.length());
  std::string bars;
  for (int c = 0; c < columns && end > 0; ++c) {
    const double from = end * c / columns;
    const double to = end * (c + 1) / columns;
    double used = 0;
    for (std::size_t i = 0; i < intervals.size(); ++i) {
      const double overlap = std::min(to, width * static_cast<double>(i + 1)) -
                             std::max(from, width * static_cast<double>(i));
      if (overlap > 0) used += overlap * intervals[i].used_blocks;
    }
    const double share =
        used / (to - from) / static_cast<double>(run.limit_blocks);
    const int eighths = static_cast<int>(std::lround(share * 8));
    bars += kBars[std::clamp(eighths, used > 0 ? 1 : 0, 8)];
  }
  return bars;
}

std::string PlotOccupancy(const std::vector<PlottedRun>& runs) {
  const double height = std::max<double>(runs.size(), 1) * kRun;
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%g\" height=\"%g\" "
      "viewBox=\"0 0 %g %g\" font-family=\"sans-serif\" font-size=\"13\">\n",
      kWidth, height, kWidth, height);
  svg +=
      "<style>\n"
      "path { fill: none; stroke-width: 1.6 }\n"
      ".title { font-size: 15px; font-weight: bold }\n"
      ".grid { stroke: #e3e3e3; stroke-width: 1 }\n"
      ".axis { stroke: #555; stroke-width: 1 }\n"
      ".mean { fill: #9ec5e8; stroke: none }\n"
      ".mean.key { stroke: #9ec5e8; stroke-width: 9 }\n"
      ".most { stroke: #1f5f99; stroke-width: 1.2 }\n"
      ".limit { stroke: #c0392b; stroke-dasharray: 6 4 }\n"
      ".running { stroke: #1e7d43 }\n"
      ".waiting { stroke: #d08300 }\n"
      "</style>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
  for (std::size_t i = 0; i < runs.size(); ++i) {
    svg += PlotRun(runs[i], kRun * static_cast<double>(i));
  }
  return svg + "</svg>\n";
}

}  // namespace heatkv::client
