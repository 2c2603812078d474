#include "model/cuda/layer_products.h"

#include <ATen/ATen.h>

#include "base/check.h"
#include "model/cuda/kernel_calls.h"
#include "model/kernels/few_rows_product.h"

namespace heatkv::model {
namespace {

at::Tensor MultiplyFewRows(const Linear& linear, const at::Tensor& x,
                           bool gelu) {
  HEATKV_CHECK(x.is_contiguous() && linear.weight.is_contiguous());
  HEATKV_CHECK(x.scalar_type() == at::kBFloat16 &&
               linear.weight.scalar_type() == at::kBFloat16 &&
               linear.bias.scalar_type() == at::kBFloat16);
  at::Tensor out = EmptyRows(x.size(0), linear.weight.size(0), x.options());
  kernels::FewRowsProduct work;
  work.x = x.const_data_ptr();
  work.weights = linear.weight.const_data_ptr();
  work.bias = linear.bias.const_data_ptr();
  work.out = out.mutable_data_ptr();
  work.rows = x.size(0);
  work.readable_rows =
      (static_cast<std::int64_t>(x.storage().nbytes() / x.element_size()) -
       x.storage_offset()) /
      x.size(1);
  work.inputs = x.size(1);
  work.outputs = out.size(1);
  work.gelu = gelu;
  kernels::Launch(work, CurrentStream());
  return out;
}

}  // namespace

LayerProducts ProductsFor(const TransformerSpec& spec, std::int64_t rows) {
  const std::int64_t width = spec.width;
  const std::int64_t hidden = spec.mlp_width;
  return rows <= kFewRows && kernels::CanMultiplyFewRows(width, width) &&
                 kernels::CanMultiplyFewRows(width, 3 * width) &&
                 kernels::CanMultiplyFewRows(width, hidden) &&
                 kernels::CanMultiplyFewRows(hidden, width)
             ? LayerProducts::kOfFewRows
             : LayerProducts::kOfAnyRows;
}

at::Tensor EmptyRows(std::int64_t rows, std::int64_t width,
                     const at::TensorOptions& options) {
  constexpr std::int64_t kTile = kernels::kMostTileRows;
  // More rows than a group of few has are not worth it.
  if (rows > 1024) return at::empty({rows, width}, options);
  return at::empty({(rows + kTile - 1) / kTile * kTile, width}, options)
      .narrow(0, 0, rows);
}

at::Tensor Multiply(LayerProducts products, const Linear& linear,
                    const at::Tensor& x) {
  return products == LayerProducts::kOfFewRows
             ? MultiplyFewRows(linear, x, /*gelu=*/false)
             : linear(x);
}

at::Tensor MultiplyGelu(LayerProducts products, const Linear& linear,
                        const at::Tensor& x) {
  if (products == LayerProducts::kOfFewRows) {
    return MultiplyFewRows(linear, x, /*gelu=*/true);
  }
  // On a GPU its GELU is the one with the hyperbolic tangent.
  return at::_addmm_activation(linear.bias, x, linear.weight.t(), /*beta=*/1,
                               /*alpha=*/1, /*use_gelu=*/true);
}

}  // namespace heatkv::model
