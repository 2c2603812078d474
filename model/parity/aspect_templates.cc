#include "model/parity/aspect_templates.h"

#include <algorithm>
#include <cmath>

namespace heatkv::model {
namespace {

using cache::Grid;
using Grids = std::vector<Grid>;

// Specification section 7, height : width from 1 to 3.  The first 7, 10, 12 and
// 13 grids are the pixel classes 0.06M, 0.25M, 0.60M and 1M.  Landscape ladders
// are these with rows and columns exchanged.
const std::vector<Grids>& PortraitTemplates() {
  static const auto* const templates = new std::vector<Grids>{{{1, 1},
                                                               {2, 2},
                                                               {4, 4},
                                                               {6, 6},
                                                               {8, 8},
                                                               {12, 12},
                                                               {16, 16},
                                                               {20, 20},
                                                               {24, 24},
                                                               {32, 32},
                                                               {40, 40},
                                                               {48, 48},
                                                               {64, 64}},
                                                              {{1, 1},
                                                               {2, 2},
                                                               {3, 3},
                                                               {5, 4},
                                                               {10, 8},
                                                               {15, 12},
                                                               {20, 16},
                                                               {25, 20},
                                                               {30, 24},
                                                               {35, 28},
                                                               {45, 36},
                                                               {55, 44},
                                                               {70, 56}},
                                                              {{1, 1},
                                                               {2, 2},
                                                               {4, 3},
                                                               {8, 6},
                                                               {12, 9},
                                                               {16, 12},
                                                               {20, 15},
                                                               {24, 18},
                                                               {28, 21},
                                                               {36, 27},
                                                               {48, 36},
                                                               {60, 45},
                                                               {72, 54}},
                                                              {{1, 1},
                                                               {2, 2},
                                                               {3, 2},
                                                               {6, 4},
                                                               {9, 6},
                                                               {15, 10},
                                                               {21, 14},
                                                               {27, 18},
                                                               {33, 22},
                                                               {39, 26},
                                                               {48, 32},
                                                               {63, 42},
                                                               {78, 52}},
                                                              {{1, 1},
                                                               {2, 2},
                                                               {3, 3},
                                                               {7, 4},
                                                               {11, 6},
                                                               {14, 8},
                                                               {21, 12},
                                                               {28, 16},
                                                               {35, 20},
                                                               {42, 24},
                                                               {56, 32},
                                                               {70, 40},
                                                               {84, 48}},
                                                              {{1, 1},
                                                               {2, 2},
                                                               {4, 2},
                                                               {6, 3},
                                                               {10, 5},
                                                               {16, 8},
                                                               {22, 11},
                                                               {30, 15},
                                                               {38, 19},
                                                               {46, 23},
                                                               {60, 30},
                                                               {74, 37},
                                                               {90, 45}},
                                                              {{1, 1},
                                                               {2, 2},
                                                               {5, 2},
                                                               {10, 4},
                                                               {15, 6},
                                                               {20, 8},
                                                               {25, 10},
                                                               {30, 12},
                                                               {40, 16},
                                                               {50, 20},
                                                               {65, 26},
                                                               {80, 32},
                                                               {100, 40}},
                                                              {{1, 1},
                                                               {2, 2},
                                                               {6, 2},
                                                               {9, 3},
                                                               {15, 5},
                                                               {21, 7},
                                                               {27, 9},
                                                               {36, 12},
                                                               {45, 15},
                                                               {54, 18},
                                                               {72, 24},
                                                               {90, 30},
                                                               {111, 37}}};
  return *templates;
}

double Ratio(const Grid& grid) {
  return static_cast<double>(grid.height) / grid.width;
}

bool BeginsWith(const Grids& whole, const Grids& part) {
  return part.size() <= whole.size() &&
         std::equal(part.begin(), part.end(), whole.begin());
}

// Nearest by height : width, the first of equals.  `candidates` is not empty.
Grid NearestLastGrid(const std::vector<const Grids*>& candidates,
                     double ratio) {
  const auto distance = [ratio](const Grids* grids) {
    return std::abs(Ratio(grids->back()) - ratio);
  };
  return (*std::min_element(candidates.begin(), candidates.end(),
                            [&](const Grids* a, const Grids* b) {
                              return distance(a) < distance(b);
                            }))
      ->back();
}

}  // namespace

Grid RopeGridFor(const std::vector<Grid>& grids) {
  std::vector<Grids> all = PortraitTemplates();
  for (const Grids& portrait : PortraitTemplates()) {
    Grids landscape;
    for (const Grid& grid : portrait) {
      landscape.push_back({.height = grid.width, .width = grid.height});
    }
    all.push_back(std::move(landscape));
  }
  std::vector<const Grids*> fitting;
  std::vector<const Grids*> any;
  for (const Grids& grids_of_template : all) {
    any.push_back(&grids_of_template);
    if (BeginsWith(grids_of_template, grids)) {
      fitting.push_back(&grids_of_template);
    }
  }
  return NearestLastGrid(fitting.empty() ? any : fitting, Ratio(grids.back()));
}

}  // namespace heatkv::model
