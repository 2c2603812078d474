#include "model/infinity/rope2d.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace heatkv::model {
namespace {

// Row positions of the rotations' tokens, read back from the first pair, whose
// wavelength is 2 pi: positions beyond pi are compared as angles.
void ExpectRows(const cache::Grid& grid, const cache::Grid& rope_grid,
                const std::vector<int>& rows) {
  const at::Tensor rotations = RopeRotations(grid, rope_grid, 16, at::kCPU);
  ASSERT_EQ(rotations.sizes(), (at::IntArrayRef{grid.tokens(), 8}));
  for (int i = 0; i < grid.height; ++i) {
    const auto value = rotations[i * grid.width][0].item<c10::complex<float>>();
    EXPECT_NEAR(value.real(), std::cos(rows[i]), 1e-5) << i;
    EXPECT_NEAR(value.imag(), std::sin(rows[i]), 1e-5) << i;
  }
}

TEST(Rope2dTest, PositionsAreTheSpecificationsExamples) {
  ExpectRows({6, 6}, {64, 64}, {0, 11, 21, 32, 43, 53});
  ExpectRows({12, 12}, {64, 64},
             {0, 5, 11, 16, 21, 27, 32, 37, 43, 48, 53, 59});
  ExpectRows({64, 64}, {64, 64}, [] {
    std::vector<int> rows;
    for (int i = 0; i < 64; ++i) rows.push_back(i);
    return rows;
  }());
}

TEST(Rope2dTest, HalvesRoundToEven) {
  // Steps of 2.5 and 4.5: 2.5 -> 2, 7.5 -> 8; 4.5 -> 4, 13.5 -> 14.
  ExpectRows({4, 1}, {10, 1}, {0, 2, 5, 8});
  ExpectRows({4, 1}, {18, 1}, {0, 4, 9, 14});
}

TEST(Rope2dTest, FirstHalfOfThePairsIsTheRowAndSecondTheColumn) {
  const cache::Grid grid = {3, 4};
  const int head_width = 24;
  const at::Tensor rotations =
      RopeRotations(grid, /*rope_grid=*/grid, head_width, at::kCPU);
  for (int row = 0; row < grid.height; ++row) {
    for (int column = 0; column < grid.width; ++column) {
      for (int pair = 0; pair < head_width / 2; ++pair) {
        const int pairs = head_width / 4;
        const double wavelength =
            std::pow(10000.0, 2.0 * (pair % pairs) / (head_width / 2));
        const double angle = (pair < pairs ? row : column) / wavelength;
        const auto value = rotations[row * grid.width + column][pair]
                               .item<c10::complex<float>>();
        EXPECT_NEAR(value.real(), std::cos(angle), 1e-6);
        EXPECT_NEAR(value.imag(), std::sin(angle), 1e-6);
      }
    }
  }
}

TEST(Rope2dTest, RotateTurnsAdjacentPairs) {
  const cache::Grid grid = {2, 3};
  const at::Tensor rotations = RopeRotations(grid, {7, 9}, 8, at::kCPU);
  const at::Tensor x = at::randn({2, 3, 6, 8});
  const at::Tensor turned = Rotate(x, rotations);
  for (int token = 0; token < 6; ++token) {
    for (int pair = 0; pair < 4; ++pair) {
      const auto r = rotations[token][pair].item<c10::complex<float>>();
      const float a = x[1][2][token][2 * pair].item<float>();
      const float b = x[1][2][token][2 * pair + 1].item<float>();
      EXPECT_NEAR(turned[1][2][token][2 * pair].item<float>(),
                  a * r.real() - b * r.imag(), 1e-5);
      EXPECT_NEAR(turned[1][2][token][2 * pair + 1].item<float>(),
                  b * r.real() + a * r.imag(), 1e-5);
    }
  }
}

// What rotary embeddings are for: the product of two rotated vectors depends on
// the difference of their positions only.
TEST(Rope2dTest, ProductsDependOnDifferencesOfPositions) {
  const cache::Grid grid = {8, 8};
  const at::Tensor rotations = RopeRotations(grid, grid, 32, at::kCPU);
  const at::Tensor q = at::randn({1, 32}).expand({64, 32});
  const at::Tensor k = at::randn({1, 32}).expand({64, 32});
  const at::Tensor products =
      at::matmul(Rotate(q, rotations), Rotate(k, rotations).t());
  const auto at = [&](int qy, int qx, int ky, int kx) {
    return products[qy * 8 + qx][ky * 8 + kx].item<float>();
  };
  EXPECT_NEAR(at(0, 0, 2, 3), at(4, 1, 6, 4), 1e-4);
  EXPECT_NEAR(at(5, 7, 1, 2), at(6, 6, 2, 1), 1e-4);
}

}  // namespace
}  // namespace heatkv::model
