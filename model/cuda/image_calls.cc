#include "model/cuda/image_calls.h"

#include <ATen/ATen.h>

#include "base/check.h"
#include "model/cuda/kernel_calls.h"
#include "model/kernels/group_norm_swish.h"
#include "model/kernels/interleave.h"

namespace heatkv::model {
namespace {

void CheckImage(const at::Tensor& x) {
  HEATKV_CHECK(x.scalar_type() == at::kBFloat16);
  HEATKV_CHECK_EQ(x.size(0), 1);
  HEATKV_CHECK(x.is_contiguous(at::MemoryFormat::ChannelsLast));
}

const float* Floats(const at::Tensor& values) {
  if (!values.defined()) return nullptr;
  HEATKV_CHECK(values.scalar_type() == at::kFloat && values.is_contiguous());
  return values.const_data_ptr<float>();
}

}  // namespace

at::Tensor CudaChannelSums(const at::Tensor& x, const at::Tensor& input_bias) {
  CheckImage(x);
  kernels::ChannelSums work;
  work.x = x.const_data_ptr();
  work.input_bias = Floats(input_bias);
  work.pixels = x.size(2) * x.size(3);
  work.channels = static_cast<int>(x.size(1));
  // Those of all bands of an image are there at once.
  work.chunks = kernels::SumChunks(work.pixels / 4);
  const at::Tensor sums =
      at::empty({work.chunks, 2, x.size(1)}, x.options().dtype(at::kFloat));
  work.sums = sums.mutable_data_ptr<float>();
  kernels::Launch(work, CurrentStream());
  return sums;
}

at::Tensor CudaGroupStatistics(const at::Tensor& sums, std::int64_t pixels,
                               int groups, double epsilon) {
  kernels::GroupStatistics work;
  work.sums = Floats(sums);
  work.pixels = pixels;
  work.chunks = static_cast<int>(sums.size(0));
  work.channels = static_cast<int>(sums.size(2));
  work.groups = groups;
  work.epsilon = static_cast<float>(epsilon);
  const at::Tensor statistics = at::empty({groups, 2}, sums.options());
  work.statistics = statistics.mutable_data_ptr<float>();
  kernels::Launch(work, CurrentStream());
  return statistics;
}

void CudaNormaliseSwish(const at::Tensor& x, const at::Tensor& input_bias,
                        const at::Tensor& weight, const at::Tensor& bias,
                        const at::Tensor& statistics, at::Tensor& out) {
  CheckImage(x);
  CheckImage(out);
  HEATKV_CHECK_EQ(out.numel(), x.numel());
  kernels::NormaliseSwish work;
  work.x = x.const_data_ptr();
  work.input_bias = Floats(input_bias);
  work.weight = Floats(weight);
  work.bias = Floats(bias);
  work.statistics = Floats(statistics);
  work.out = out.mutable_data_ptr();
  work.pixels = x.size(2) * x.size(3);
  work.channels = static_cast<int>(x.size(1));
  work.groups = static_cast<int>(statistics.size(0));
  kernels::Launch(work, CurrentStream());
}

void CudaInterleave(const at::Tensor& x, const at::Tensor& bias, int row,
                    int column, at::Tensor& out) {
  CheckImage(x);
  CheckImage(out);
  HEATKV_CHECK_EQ(x.size(1), out.size(1));
  HEATKV_CHECK_EQ(2 * (x.size(3) - 1), out.size(3));
  HEATKV_CHECK_LE(out.size(2) / 2 + row, x.size(2));
  constexpr std::int64_t kBytes = 2;
  const std::int64_t pixel = x.size(1) * kBytes;
  kernels::Interleave work;
  work.x = static_cast<const char*>(x.const_data_ptr()) +
           (row * x.size(3) + column) * pixel;
  work.bias = Floats(bias);
  work.out = static_cast<char*>(out.mutable_data_ptr()) +
             (row * out.size(3) + column) * pixel;
  work.height = static_cast<int>(out.size(2) / 2);
  work.width = static_cast<int>(out.size(3) / 2);
  work.row_pixels = static_cast<int>(x.size(3));
  work.channels = static_cast<int>(x.size(1));
  kernels::Launch(work, CurrentStream());
}

}  // namespace heatkv::model
