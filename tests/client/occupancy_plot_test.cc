#include "client/occupancy_plot.h"

#include <cctype>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace heatkv::client {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// A pool of 1 GiB that is a quarter, then three quarters full.
PlottedRun TwoLevels(const std::string& title) {
  PlottedRun run;
  run.title = title;
  run.limit_blocks = 1 << 17;
  run.block_bytes = 8192;
  run.trace.Add(absl::ZeroDuration(), absl::Seconds(5),
                {.used_blocks = 1 << 15, .running_images = 2});
  run.trace.Add(
      absl::Seconds(5), absl::Seconds(10),
      {.used_blocks = 3 << 15, .running_images = 9, .waiting_images = 4});
  return run;
}

// Tags that were opened and closed in order, entities that exist, numbers that
// are finite.
bool IsWellFormed(const std::string& svg) {
  std::vector<std::string> open;
  for (std::size_t i = 0; i < svg.size(); ++i) {
    if (svg[i] == '&') {
      bool known = false;
      for (const char* entity : {"&amp;", "&lt;", "&gt;"}) {
        known =
            known || svg.compare(i, std::string(entity).size(), entity) == 0;
      }
      if (!known) return false;
    }
    if (svg[i] == '>') return false;  // outside of a tag
    if (svg[i] != '<') continue;
    const std::size_t end = svg.find('>', i);
    if (end == std::string::npos) return false;
    const std::string tag = svg.substr(i + 1, end - i - 1);
    if (tag.find('<') != std::string::npos) return false;
    std::size_t letters = tag[0] == '/' ? 1 : 0;
    const std::size_t begin = letters;
    while (letters < tag.size() && std::isalpha(tag[letters])) ++letters;
    const std::string name = tag.substr(begin, letters - begin);
    if (tag[0] == '/') {
      if (open.empty() || open.back() != name) return false;
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
    i = end;
  }
  return open.empty() && svg.find("nan") == std::string::npos &&
         svg.find("inf") == std::string::npos;
}

TEST(OccupancyPlotTest, IsAWellFormedDrawingWhateverTheTitle) {
  EXPECT_FALSE(IsWellFormed("<svg><path></svg>"));
  const std::string svg =
      PlotOccupancy({TwoLevels("a < b & c > \"d\""), TwoLevels("second")});
  EXPECT_TRUE(IsWellFormed(svg)) << svg;
  EXPECT_THAT(svg, AllOf(HasSubstr("a &lt; b &amp; c"), HasSubstr("second"),
                         HasSubstr("xmlns=\"http://www.w3.org/2000/svg\"")));
}

TEST(OccupancyPlotTest, AxesAreLabelledWithUnits) {
  const std::string svg = PlotOccupancy({TwoLevels("run")});
  EXPECT_THAT(svg, AllOf(HasSubstr(">pool, GiB<"), HasSubstr(">images<"),
                         HasSubstr(">simulated time, s<"), HasSubstr(">limit<"),
                         HasSubstr(">in flight<"), HasSubstr(">waiting<")));
}

TEST(OccupancyPlotTest, NothingThatHappenedIsStillADrawing) {
  EXPECT_TRUE(IsWellFormed(PlotOccupancy({})));
  PlottedRun empty;
  empty.title = "empty";
  EXPECT_TRUE(IsWellFormed(PlotOccupancy({empty})));
  EXPECT_EQ(OccupancyBars(empty, 10), "");
}

TEST(OccupancyBarsTest, BarsAreSharesOfTheLimit) {
  EXPECT_EQ(OccupancyBars(TwoLevels(""), 4), "▂▂▆▆");
  PlottedRun full = TwoLevels("");
  full.limit_blocks = 3 << 15;
  EXPECT_EQ(OccupancyBars(full, 2), "▃█");
}

}  // namespace
}  // namespace heatkv::client
