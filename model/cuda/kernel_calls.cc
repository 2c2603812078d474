#include "model/cuda/kernel_calls.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <optional>
#include <tuple>

#include "base/check.h"
#include "model/kernels/group_norm_swish.h"

namespace heatkv::model {

kernels::Stream CurrentStream() {
  return c10::cuda::getCurrentCUDAStream().stream();
}

int CudaDevices() { return c10::cuda::device_count(); }

at::Tensor Upload(std::span<const std::int32_t> values) {
  const at::Tensor host =
      at::empty({static_cast<std::int64_t>(values.size())},
                at::TensorOptions(at::kInt).pinned_memory(true));
  std::copy(values.begin(), values.end(), host.mutable_data_ptr<int>());
  return host.to(at::Device(at::kCUDA, c10::cuda::current_device()),
                 /*non_blocking=*/true);
}

at::Tensor CudaGroupNormSwish(const at::Tensor& x, const at::Tensor& input_bias,
                              const at::Tensor& weight, const at::Tensor& bias,
                              int groups, double epsilon, bool in_place) {
  HEATKV_CHECK(x.scalar_type() == at::kBFloat16);
  HEATKV_CHECK(weight.scalar_type() == at::kFloat);
  HEATKV_CHECK_EQ(x.size(0), 1);
  const at::Tensor in = x.contiguous(at::MemoryFormat::ChannelsLast);
  at::Tensor out =
      in_place ? in : at::empty_like(in, at::MemoryFormat::ChannelsLast);
  kernels::GroupNormSwish work;
  work.x = in.const_data_ptr();
  if (input_bias.defined()) {
    HEATKV_CHECK(input_bias.scalar_type() == at::kFloat);
    work.input_bias = input_bias.const_data_ptr<float>();
  }
  work.weight = weight.const_data_ptr<float>();
  work.bias = bias.const_data_ptr<float>();
  work.out = out.mutable_data_ptr();
  work.pixels = x.size(2) * x.size(3);
  work.channels = static_cast<int>(x.size(1));
  work.groups = groups;
  work.epsilon = static_cast<float>(epsilon);
  const at::Tensor sums =
      at::empty({kernels::WorkspaceFloats(work)}, weight.options());
  work.partial_sums = sums.mutable_data_ptr<float>();
  kernels::Launch(work, CurrentStream());
  return out;
}

void CudaAddBias(at::Tensor& x, const at::Tensor& bias,
                 const at::Tensor& added) {
  HEATKV_CHECK(x.is_contiguous(at::MemoryFormat::ChannelsLast));
  HEATKV_CHECK(x.scalar_type() == at::kBFloat16);
  HEATKV_CHECK(bias.scalar_type() == at::kFloat);
  const at::Tensor other =
      added.defined() ? added.contiguous(at::MemoryFormat::ChannelsLast)
                      : at::Tensor();
  kernels::BiasAdd work;
  work.x = x.mutable_data_ptr();
  work.bias = bias.const_data_ptr<float>();
  if (other.defined()) {
    HEATKV_CHECK(other.scalar_type() == at::kBFloat16);
    HEATKV_CHECK_EQ(other.numel(), x.numel());
    work.added = other.const_data_ptr();
  }
  work.pixels = x.size(2) * x.size(3);
  work.channels = static_cast<int>(x.size(1));
  kernels::Launch(work, CurrentStream());
}

at::Tensor VarlenAttention(const at::Tensor& queries, const at::Tensor& keys,
                           const at::Tensor& values,
                           const at::Tensor& query_begin,
                           const at::Tensor& key_begin,
                           std::int64_t most_queries, std::int64_t most_keys,
                           double scale) {
  return std::get<0>(at::_flash_attention_forward(
      queries, keys, values, query_begin, key_begin, most_queries, most_keys,
      /*dropout_p=*/0.0, /*is_causal=*/false, /*return_debug_mask=*/false,
      scale, /*window_size_left=*/std::nullopt,
      /*window_size_right=*/std::nullopt));
}

}  // namespace heatkv::model
