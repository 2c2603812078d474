// From the product of queries, keys and values to what attention reads, against
// torch's operators on the CPU.

#include "model/kernels/rotate_scatter.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "model/cuda/kernel_calls.h"
#include "model/infinity/rope2d.h"
#include "tests/model/cuda/kernel_inputs.h"

namespace heatkv::model {
namespace {

constexpr int kRows = 2;
constexpr int kHeads = 5;
constexpr cache::Grid kGrid{3, 7};
constexpr int kTokens = 21;
// What staging holds where nothing is staged.
constexpr double kUntouched = 7;

// The staging row of a head's first token; there is room between all of them.
int First(int row, int head) {
  const int i = row * kHeads + head;
  return i * (kTokens + i) + 2;
}

// Of a head width.
class RotateScatterTest : public KernelsTest {
 protected:
  struct Result {
    at::Tensor queries;  // [rows, heads, tokens, head_width]
    at::Tensor keys, values;
  };

  void SetUp() override {
    KernelsTest::SetUp();
    if (IsSkipped()) return;
    product_ = Random({kRows, kTokens, 3, kHeads, head_width()}, at::kBFloat16);
    scale_ = Random({kHeads}).abs() + 1;
    rotations_ = RopeRotations(kGrid, {9, 14}, head_width(), at::kCPU);
  }

  int head_width() const { return GetParam(); }

  Result Run(const at::Tensor& product, bool by_token) const {
    std::vector<std::int32_t> current;
    for (int row = 0; row < kRows; ++row) {
      for (int head = 0; head < kHeads; ++head) {
        current.push_back(First(row, head));
      }
    }
    const at::Tensor uploaded = Upload(current);
    const at::Tensor turns =
        at::view_as_real(rotations_).contiguous().to(at::kCUDA);
    at::Tensor queries = at::full({kRows * kHeads * kTokens, head_width()}, NAN,
                                  product.options());
    at::Tensor keys = at::full({current.back() + kTokens + 3, head_width()},
                               kUntouched, product.options());
    at::Tensor values = keys.clone();
    kernels::RotateScatter work;
    work.product = product.const_data_ptr();
    work.query_scale = scale_.const_data_ptr<float>();
    work.rotations = turns.const_data_ptr<float>();
    work.current = uploaded.const_data_ptr<int>();
    work.queries = queries.mutable_data_ptr();
    work.queries_by_token = by_token;
    work.keys = keys.mutable_data_ptr();
    work.values = values.mutable_data_ptr();
    work.rows = kRows;
    work.tokens = kTokens;
    work.heads = kHeads;
    work.head_width = head_width();
    kernels::Launch(work, CurrentStream());
    queries = by_token ? queries.view({kRows, kTokens, kHeads, head_width()})
                             .transpose(1, 2)
                       : queries.view({kRows, kHeads, kTokens, head_width()});
    return {queries, keys, values};
  }

  at::Tensor product_;    // bf16
  at::Tensor scale_;      // of the queries' heads
  at::Tensor rotations_;  // complex, on the CPU
};

TEST_P(RotateScatterTest, NormalisesTurnsAndStages) {
  const at::Tensor all = product_.cpu().to(at::kFloat).permute({2, 0, 3, 1, 4});
  const auto unit = [](const at::Tensor& x) {
    return x / x.norm(2, {-1}, /*keepdim=*/true).clamp_min(1e-12);
  };
  const at::Tensor q =
      Rotate(unit(all[0]) * scale_.cpu().view({1, kHeads, 1, 1}), rotations_);
  const at::Tensor k = Rotate(unit(all[1]), rotations_);
  for (const bool by_token : {false, true}) {
    const Result result = Run(product_, by_token);
    EXPECT_LT(RelativeError(result.queries, q), 3e-3);
    for (int row = 0; row < kRows; ++row) {
      for (int head = 0; head < kHeads; ++head) {
        const int first = First(row, head);
        EXPECT_LT(
            RelativeError(result.keys.narrow(0, first, kTokens), k[row][head]),
            3e-3);
        EXPECT_EQ(RelativeError(result.values.narrow(0, first, kTokens),
                                all[2][row][head]),
                  0);
        // What lies around the current scale was left alone.
        for (const at::Tensor& staged : {result.keys, result.values}) {
          for (const int beside : {first - 1, first + kTokens}) {
            EXPECT_TRUE(staged[beside].eq(kUntouched).all().item<bool>());
          }
        }
      }
    }
  }
}

// What a query attends to may be loaded with other sequences' keys and values.
TEST_P(RotateScatterTest, WhatIsNotFiniteStaysInItsOwnQuery) {
  Result expected = Run(product_, /*by_token=*/false);
  for (const at::Tensor& staged : {expected.keys, expected.values}) {
    staged[First(0, 2) + 4].zero_();
    staged[First(1, 0) + kTokens - 1].zero_();
  }
  expected.queries[0][2][4].zero_();
  expected.queries[1][0][kTokens - 1].zero_();
  at::Tensor product = product_.clone();
  product[0][4][1][2][head_width() - 1] = NAN;
  product[1][kTokens - 1][2][0][5] = -std::numeric_limits<float>::infinity();
  for (const bool by_token : {false, true}) {
    const Result result = Run(product, by_token);
    EXPECT_TRUE(at::equal(result.keys, expected.keys));
    EXPECT_TRUE(at::equal(result.values, expected.values));
    EXPECT_TRUE(result.queries[0][2][4].isnan().all().item<bool>());
    EXPECT_TRUE(result.queries[1][0][kTokens - 1].isnan().all().item<bool>());
    EXPECT_TRUE(at::equal(result.queries.nan_to_num(0.0), expected.queries));
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, RotateScatterTest,
                         testing::Values(8, 16, 32, 64, 96, 128, 256));

}  // namespace
}  // namespace heatkv::model
