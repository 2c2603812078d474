// The occupancy of a pool over simulated time, drawn: bars of text for a
// terminal, and an SVG file with axes for a page.
//
// Pure functions of values; any thread may call them.

#ifndef CLIENT_OCCUPANCY_PLOT_H_
#define CLIENT_OCCUPANCY_PLOT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/engine/occupancy_trace.h"

namespace heatkv::client {

// One simulation.
struct PlottedRun {
  std::string title;
  server::OccupancyTrace trace;
  std::int64_t limit_blocks = 1;  // above 0
  std::int64_t block_bytes = 1;
};

// The mean share of the limit that was used, one bar for each of `columns`
// equal parts of the time, from " " (nothing) to "█" (all).
std::string OccupancyBars(const PlottedRun& run, int columns);

// Two panels a run, below each other: bytes used (mean as an area, the most as
// a line, the limit dashed), and images in flight and waiting.  A complete SVG
// document; titles may be any text.
std::string PlotOccupancy(const std::vector<PlottedRun>& runs);

}  // namespace heatkv::client

#endif  // CLIENT_OCCUPANCY_PLOT_H_
