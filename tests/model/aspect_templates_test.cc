#include "model/parity/aspect_templates.h"

#include <gtest/gtest.h>

namespace heatkv::model {
namespace {

using cache::Grid;

TEST(AspectTemplatesTest, ALadderNamesItsTemplateByItsGrids) {
  EXPECT_EQ(RopeGridFor({{1, 1}, {2, 2}, {4, 4}, {6, 6}}), (Grid{64, 64}));
  EXPECT_EQ(RopeGridFor({{1, 1}, {2, 2}, {3, 2}, {6, 4}}), (Grid{78, 52}));
  EXPECT_EQ(RopeGridFor({{1, 1}, {2, 2}, {2, 3}, {4, 6}}), (Grid{52, 78}));
  EXPECT_EQ(RopeGridFor({{1, 1}, {2, 2}, {2, 6}, {3, 9}}), (Grid{37, 111}));
  EXPECT_EQ(RopeGridFor({{1, 1}, {2, 2}, {5, 2}, {10, 4}}), (Grid{100, 40}));
}

TEST(AspectTemplatesTest, ALadderOfItsOwnTakesTheNearestAspect) {
  EXPECT_EQ(RopeGridFor({{1, 1}, {5, 5}}), (Grid{64, 64}));
  EXPECT_EQ(RopeGridFor({{1, 1}, {19, 10}}), (Grid{90, 45}));
  EXPECT_EQ(RopeGridFor({{1, 1}, {10, 18}}), (Grid{48, 84}));
  EXPECT_EQ(RopeGridFor({{1, 1}, {50, 5}}), (Grid{111, 37}));
}

}  // namespace
}  // namespace heatkv::model
