// Kernels on images of the VAE called with tensors: shapes and dtypes checked,
// work put on torch's current stream.  Images are [1, channels, height, width],
// bf16 of a GPU, with their channels last; a band of an image's rows is an
// image.

#ifndef MODEL_CUDA_IMAGE_CALLS_H_
#define MODEL_CUDA_IMAGE_CALLS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace heatkv::model {

// Group normalisation in three steps, for an image that is there in bands only
// (CudaGroupNormSwish has them in one).  Of x + input_bias, which is float32
// [channels] or undefined.
//
// Sums and sums of squares, float32 [any number, 2, channels]; those of bands
// one below the other are those of the image.
at::Tensor CudaChannelSums(const at::Tensor& x, const at::Tensor& input_bias);
// Mean and inverse deviation, float32 [groups, 2], of an image of `pixels`.
at::Tensor CudaGroupStatistics(const at::Tensor& sums, std::int64_t pixels,
                               int groups, double epsilon);
// swish(norm(x + input_bias)) into `out`, which is like x and may be it.
void CudaNormaliseSwish(const at::Tensor& x, const at::Tensor& input_bias,
                        const at::Tensor& weight, const at::Tensor& bias,
                        const at::Tensor& statistics, at::Tensor& out);

// out[2 i + row, 2 j + column] = x[i + row, j + column] + bias, for an `out` of
// 2 h x 2 w pixels and an x of (h + 1 or more) x (w + 1); row and column are 0
// or 1, bias is float32 [channels].
void CudaInterleave(const at::Tensor& x, const at::Tensor& bias, int row,
                    int column, at::Tensor& out);

}  // namespace heatkv::model

#endif  // MODEL_CUDA_IMAGE_CALLS_H_
