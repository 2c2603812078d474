#include "model/infinity/code_canvas.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace heatkv::model {
namespace {

// A picture of float64 values, row-major.
struct Plane {
  int height = 0;
  int width = 0;
  std::vector<double> values;

  double at(int y, int x) const { return values[y * width + x]; }
};

// Weight and neighbours of target index `i` on an axis stretched from `in` to
// `out` values: source (i + 0.5) in/out - 0.5, not below 0.
struct Tap {
  int low, high;
  double weight_of_high;
};
Tap TapOf(int i, int in, int out) {
  const double source = std::max((i + 0.5) * in / out - 0.5, 0.0);
  const int low = static_cast<int>(source);
  return {low, std::min(low + 1, in - 1), source - low};
}

Plane Resized(const Plane& plane, int height, int width) {
  Plane result{height, width, {}};
  for (int y = 0; y < height; ++y) {
    const Tap v = TapOf(y, plane.height, height);
    for (int x = 0; x < width; ++x) {
      const Tap h = TapOf(x, plane.width, width);
      const auto row = [&](int from) {
        return (1 - h.weight_of_high) * plane.at(from, h.low) +
               h.weight_of_high * plane.at(from, h.high);
      };
      result.values.push_back((1 - v.weight_of_high) * row(v.low) +
                              v.weight_of_high * row(v.high));
    }
  }
  return result;
}

void ExpectNear(const at::Tensor& mine, const Plane& truth) {
  ASSERT_EQ(mine.sizes(), (at::IntArrayRef{truth.height, truth.width}));
  for (int y = 0; y < truth.height; ++y) {
    for (int x = 0; x < truth.width; ++x) {
      EXPECT_NEAR(mine[y][x].item<double>(), truth.at(y, x), 2e-6)
          << y << ", " << x;
    }
  }
}

TEST(CodeCanvasTest, SumsAndShrinksLikeAFloat64Reference) {
  const std::vector<cache::Grid> grids = {{1, 1}, {3, 2}, {5, 4}, {9, 6}};
  const int bits = 3;
  CodeCanvas canvas(grids.back(), bits, /*patchify=*/false, at::kCPU);
  std::vector<Plane> sums(bits, Plane{9, 6, std::vector<double>(54, 0.0)});
  for (std::size_t s = 0; s < grids.size(); ++s) {
    const cache::Grid& grid = grids[s];
    const at::Tensor drawn = at::rand({grid.tokens(), bits}) < 0.5;
    canvas.Add(drawn, grid);
    for (int bit = 0; bit < bits; ++bit) {
      Plane codes{grid.height, grid.width, {}};
      for (int token = 0; token < grid.tokens(); ++token) {
        codes.values.push_back((drawn[token][bit].item<bool>() ? 1 : -1) /
                               std::sqrt(3.0));
      }
      const Plane stretched = Resized(codes, 9, 6);
      for (int i = 0; i < 54; ++i) sums[bit].values[i] += stretched.values[i];
      ExpectNear(canvas.summed_codes()[0][bit], sums[bit]);
    }
    if (s + 1 == grids.size()) break;
    const cache::Grid& next = grids[s + 1];
    const at::Tensor input = canvas.InputFor(next);
    ASSERT_EQ(input.sizes(), (at::IntArrayRef{1, next.tokens(), bits}));
    for (int bit = 0; bit < bits; ++bit) {
      ExpectNear(input[0].select(1, bit).view({next.height, next.width}),
                 Resized(sums[bit], next.height, next.width));
      ExpectNear(canvas.CodesFor(next)[0][bit],
                 Resized(sums[bit], next.height, next.width));
    }
  }
}

TEST(CodeCanvasTest, APatchifyTokenCoversTwoByTwoCells) {
  CodeCanvas canvas({2, 2}, /*bits=*/2, /*patchify=*/true, at::kCPU);
  const at::Tensor bits = at::rand({4, 8}) < 0.5;
  canvas.Add(bits, {2, 2});
  const at::Tensor sum = canvas.summed_codes();
  ASSERT_EQ(sum.sizes(), (at::IntArrayRef{1, 2, 4, 4}));
  for (int token = 0; token < 4; ++token) {
    for (int channel = 0; channel < 8; ++channel) {
      // Channel of 4d = d's channel * 4 + row * 2 + column.
      const double cell = sum[0][channel / 4][token / 2 * 2 + channel / 2 % 2]
                             [token % 2 * 2 + channel % 2]
                                 .item<double>();
      EXPECT_NEAR(cell,
                  (bits[token][channel].item<bool>() ? 1 : -1) / std::sqrt(2.0),
                  1e-6);
    }
  }
  // And back: the same grid sees what it wrote.
  EXPECT_TRUE(at::allclose(canvas.InputFor({2, 2})[0],
                           (bits.to(at::kFloat) * 2 - 1) / std::sqrt(2.0)));
}

}  // namespace
}  // namespace heatkv::model
