// The products of a transformer layer on a GPU, as its step's shape wants them.
//
// A step of few rows is bounded by reading the weights, and its products are
// our own where they can be (kernels/few_rows_product.h): they leave no pause
// between each other, and the bytes of a row do not depend on how many rows
// there are, so that an image alone need not be computed in the shape of a
// group.  All others are cuBLASLt's, whose bytes may depend on the number of
// rows.
//
// Thread safety: stateless.

#ifndef MODEL_CUDA_LAYER_PRODUCTS_H_
#define MODEL_CUDA_LAYER_PRODUCTS_H_

#include <ATen/core/Tensor.h>
#include <c10/core/TensorOptions.h>

#include <cstdint>

#include "model/api/model_spec.h"
#include "model/infinity/linear.h"

namespace heatkv::model {

enum class LayerProducts {
  kOfAnyRows,
  kOfFewRows,
};

// What steps of a scale are computed with of which an image has `rows` rows
// (tokens of all branches): whatever the group, so that company changes
// nothing.  Asks the current device what it can do.
LayerProducts ProductsFor(const TransformerSpec& spec, std::int64_t rows);

// For x or what comes of it, [rows, width]: with memory behind it so that
// products of few rows read whole tiles.
at::Tensor EmptyRows(std::int64_t rows, std::int64_t width,
                     const at::TensorOptions& options);

// x W^T + b of bf16 x [rows, inputs].
at::Tensor Multiply(LayerProducts products, const Linear& linear,
                    const at::Tensor& x);
// GELU of that, with the hyperbolic tangent.
at::Tensor MultiplyGelu(LayerProducts products, const Linear& linear,
                        const at::Tensor& x);

}  // namespace heatkv::model

#endif  // MODEL_CUDA_LAYER_PRODUCTS_H_
