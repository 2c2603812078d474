#include "model/kernels/few_rows_product.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <tuple>

#include "model/api/model_spec.h"
#include "model/cuda/kernel_calls.h"
#include "model/cuda/layer_products.h"
#include "model/infinity/linear.h"
#include "tests/model/cuda/kernel_inputs.h"

namespace heatkv::model {
namespace {

// Inputs, outputs and whether GELU follows.
using Shape = std::tuple<std::int64_t, std::int64_t, bool>;

class FewRowsProductTest : public testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    if (CudaDevices() == 0) GTEST_SKIP() << "no CUDA device";
    const auto [inputs, outputs, gelu] = GetParam();
    if (!kernels::CanMultiplyFewRows(inputs, outputs)) {
      GTEST_SKIP() << "no Hopper GPU, or not built for one";
    }
    linear_ = {.weight = Random({outputs, inputs}, at::kBFloat16),
               .bias = Random({outputs}, at::kBFloat16)};
  }

  at::Tensor Random(at::IntArrayRef shape, at::ScalarType dtype) {
    return at::randn(shape, generator_, at::TensorOptions(at::kFloat))
        .to(dtype)
        .to(at::kCUDA);
  }
  static at::Tensor Double(const at::Tensor& x) {
    return x.cpu().to(at::kDouble);
  }

  at::Tensor Product(const at::Tensor& x) {
    return std::get<2>(GetParam())
               ? MultiplyGelu(LayerProducts::kOfFewRows, linear_, x)
               : Multiply(LayerProducts::kOfFewRows, linear_, x);
  }

  at::Generator generator_ = at::detail::createCPUGenerator(57);
  Linear linear_;
};

TEST_P(FewRowsProductTest, ResultsAreThoseOfFloat64) {
  const auto [inputs, outputs, gelu] = GetParam();
  for (const std::int64_t rows : {1, 2, 8, 31, 72, 96, 128, 129, 250}) {
    const at::Tensor x =
        Random({rows, inputs}, at::kBFloat16) / std::sqrt(1.0 * inputs);
    at::Tensor truth =
        at::linear(Double(x), Double(linear_.weight), Double(linear_.bias));
    if (gelu) truth = at::gelu(truth, "tanh");
    EXPECT_LT(RelativeError(Product(x), truth), 3e-3) << rows << " rows";
  }
}

TEST_P(FewRowsProductTest, RowsBytesAreTheSameInAnyCompany) {
  const std::int64_t inputs = std::get<0>(GetParam());
  const at::Tensor x = Random({256, inputs}, at::kBFloat16);
  const at::Tensor all = Product(x);
  for (const std::int64_t rows : {1, 2, 8, 32, 50, 72, 96, 128, 200, 216}) {
    for (const std::int64_t first : {std::int64_t{0}, 256 - rows}) {
      EXPECT_TRUE(at::equal(Product(x.narrow(0, first, rows)),
                            all.narrow(0, first, rows)))
          << rows << " rows from " << first;
    }
  }
}

TEST_P(FewRowsProductTest, WhatLiesBehindTheRowsDoesNotMatterAndStays) {
  const auto [inputs, outputs, gelu] = GetParam();
  for (const std::int64_t rows : {3, 70, 131}) {
    const at::Tensor x =
        at::full({rows + 60, inputs}, NAN, linear_.weight.options());
    x.narrow(0, 0, rows).copy_(Random({rows, inputs}, at::kBFloat16));
    const auto product = [&](std::int64_t readable_rows) {
      at::Tensor out = at::full({rows + 60, outputs}, 7, x.options());
      kernels::FewRowsProduct work;
      work.x = x.const_data_ptr();
      work.weights = linear_.weight.const_data_ptr();
      work.bias = linear_.bias.const_data_ptr();
      work.out = out.mutable_data_ptr();
      work.rows = rows;
      work.readable_rows = readable_rows;
      work.inputs = inputs;
      work.outputs = outputs;
      work.gelu = gelu;
      kernels::Launch(work, CurrentStream());
      EXPECT_TRUE(out.narrow(0, rows, 60).eq(7).all().item<bool>());
      return out.narrow(0, 0, rows);
    };
    const at::Tensor out = product(rows);
    EXPECT_TRUE(out.isfinite().all().item<bool>());
    EXPECT_TRUE(at::equal(out, product(rows + 60)));
  }
}

// One, two and four parts of the inputs, Infinity-2B's and 8B's.
INSTANTIATE_TEST_SUITE_P(
    Shapes, FewRowsProductTest,
    testing::Values(Shape{64, 64, false}, Shape{192, 320, true},
                    Shape{2048, 6144, false}, Shape{2048, 2048, false},
                    Shape{2048, 8192, true}, Shape{8192, 2048, false},
                    Shape{3584, 3584, false}, Shape{3584, 14336, true},
                    Shape{14336, 3584, false}));

using SquareProductTest = FewRowsProductTest;

TEST_P(SquareProductTest, ChainsSeeWhatTheOneBeforeWrote) {
  const std::int64_t inputs = std::get<0>(GetParam());
  linear_.weight /= std::sqrt(1.0 * inputs);
  // Each product may start while the one before it still runs.
  at::Tensor x = Random({40, inputs}, at::kBFloat16);
  const auto wait = [&] { at::zeros({1}, x.options()).item(); };
  at::Tensor waited = x;
  wait();  // weights are older than the kernel in front
  for (int i = 0; i < 60; ++i) x = Product(x);
  for (int i = 0; i < 60; ++i) {
    waited = Product(waited);
    wait();
  }
  EXPECT_TRUE(at::equal(x, waited));
}

INSTANTIATE_TEST_SUITE_P(Shapes, SquareProductTest,
                         testing::Values(Shape{64, 64, false},
                                         Shape{2048, 2048, false}));

// Each element by itself, where it is much smaller than its input.
TEST(FewRowsGeluTest, TailIsThatOfFloat64) {
  if (CudaDevices() == 0) GTEST_SKIP() << "no CUDA device";
  if (!kernels::CanMultiplyFewRows(64, 64)) {
    GTEST_SKIP() << "no Hopper GPU, or not built for one";
  }
  const auto options = at::TensorOptions(at::kBFloat16).device(at::kCUDA);
  const Linear same = {.weight = at::eye(64, options),
                       .bias = at::zeros({64}, options)};
  const at::Tensor x = at::linspace(-6, 6, 64 * 50, options).view({50, 64});
  const at::Tensor y = MultiplyGelu(LayerProducts::kOfFewRows, same, x);
  const at::Tensor wide = x.cpu().to(at::kDouble);
  const at::Tensor truth = at::gelu(wide, "tanh");
  const at::Tensor error =
      (y.cpu().to(at::kDouble) - truth).abs() / truth.abs().clamp_min(1e-30);
  EXPECT_LT(error.masked_select(wide.abs() > 0.01).max().item<double>(),
            4.5e-3);
}

TEST(LayerProductsTest, AreThoseOfFewRowsWhereAnImageHasFew) {
  if (CudaDevices() == 0) GTEST_SKIP() << "no CUDA device";
  TransformerSpec spec;
  spec.width = 2048;
  spec.mlp_width = 8192;
  if (!kernels::CanMultiplyFewRows(64, 64)) {
    EXPECT_EQ(ProductsFor(spec, 2), LayerProducts::kOfAnyRows);
    return;
  }
  EXPECT_EQ(ProductsFor(spec, 2), LayerProducts::kOfFewRows);
  EXPECT_EQ(ProductsFor(spec, kFewRows), LayerProducts::kOfFewRows);
  EXPECT_EQ(ProductsFor(spec, kFewRows + 1), LayerProducts::kOfAnyRows);
  spec.mlp_width = 8192 + 32;
  EXPECT_EQ(ProductsFor(spec, 2), LayerProducts::kOfAnyRows);
}

}  // namespace
}  // namespace heatkv::model
