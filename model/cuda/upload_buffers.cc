#include "model/cuda/upload_buffers.h"

#include <ATen/ATen.h>

#include <bit>

#include "base/check.h"

namespace heatkv::model {

void UploadBuffers::Reserve(std::int64_t values) {
  for (Buffer& buffer : buffers_) {
    if (buffer.memory.defined() && buffer.memory.numel() >= values) continue;
    buffer.read.synchronize();
    buffer.memory = at::empty({static_cast<std::int64_t>(std::bit_ceil(
                                  static_cast<std::uint64_t>(values)))},
                              at::TensorOptions(at::kInt).pinned_memory(true));
  }
}

std::span<std::int32_t> UploadBuffers::Next(std::int64_t values) {
  Reserve(values);
  Buffer& buffer = buffers_[turn_];
  buffer.read.synchronize();
  return {buffer.memory.mutable_data_ptr<int>(),
          static_cast<std::size_t>(values)};
}

void UploadBuffers::Send(const at::Tensor& device, std::int64_t values) {
  Buffer& buffer = buffers_[turn_];
  HEATKV_CHECK_LE(values, buffer.memory.numel());
  HEATKV_CHECK_LE(values, device.numel());
  device.narrow(0, 0, values)
      .copy_(buffer.memory.narrow(0, 0, values), /*non_blocking=*/true);
  buffer.read.record();
  turn_ = 1 - turn_;
}

}  // namespace heatkv::model
