// The kernels of model/kernels/ called with tensors: shapes and dtypes checked,
// memory taken from torch's allocator, work put on torch's current stream.

#ifndef MODEL_CUDA_KERNEL_CALLS_H_
#define MODEL_CUDA_KERNEL_CALLS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "model/kernels/launch.h"

namespace heatkv::model {

// Of the current device.
kernels::Stream CurrentStream();

// GPUs that torch sees.
int CudaDevices();

// Copies host values to a new int32 tensor of the current device without
// waiting for it.  For few values; see also model/cuda/upload_buffers.h.
at::Tensor Upload(std::span<const std::int32_t> values);

// swish(group_norm(x + input_bias)); x [1, channels, height, width] bf16 of a
// GPU, input_bias float32 or undefined.  The result has its channels last; with
// `in_place` it overwrites x, if x has its channels last.
at::Tensor CudaGroupNormSwish(const at::Tensor& x, const at::Tensor& input_bias,
                              const at::Tensor& weight, const at::Tensor& bias,
                              int groups, double epsilon, bool in_place);

// x = x + bias + added, in place; x and added as above, `added` may be
// undefined; bias float32.
void CudaAddBias(at::Tensor& x, const at::Tensor& bias,
                 const at::Tensor& added);

// Attention of sequences that lie one behind the other: queries [all query
// tokens, heads, head width], keys and values [all key tokens, heads, head
// width], bf16; query_begin and key_begin int32 [sequences + 1].  A sequence's
// result does not depend on the others, as long as the two bounds are the same.
at::Tensor VarlenAttention(const at::Tensor& queries, const at::Tensor& keys,
                           const at::Tensor& values,
                           const at::Tensor& query_begin,
                           const at::Tensor& key_begin,
                           std::int64_t most_queries, std::int64_t most_keys,
                           double scale);

}  // namespace heatkv::model

#endif  // MODEL_CUDA_KERNEL_CALLS_H_
