#include "model/cuda/upload_buffers.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "model/cuda/kernel_calls.h"

namespace heatkv::model {
namespace {

// The host never waits for the device but inside Next, and writes as fast as it
// can while copies run.
TEST(UploadBuffersTest, EveryCopyCarriesWhatWasWrittenForIt) {
  if (CudaDevices() == 0) GTEST_SKIP() << "no CUDA device";
  constexpr std::int64_t kMost = 1 << 20;
  UploadBuffers uploads;
  std::vector<at::Tensor> arrived;
  std::vector<std::int64_t> sizes;
  for (int i = 0; i < 60; ++i) {
    const std::int64_t size = i % 3 == 0 ? kMost : 1 + i * 1000;
    const std::span<std::int32_t> values = uploads.Next(size);
    ASSERT_EQ(values.size(), size);
    std::fill(values.begin(), values.end(), i);
    arrived.push_back(at::full({size + 1}, -1,
                               at::TensorOptions(at::kInt).device(at::kCUDA)));
    uploads.Send(arrived.back(), size);
    sizes.push_back(size);
  }
  for (int i = 0; i < 60; ++i) {
    const at::Tensor host = arrived[i].cpu();
    EXPECT_TRUE((host.narrow(0, 0, sizes[i]) == i).all().item<bool>()) << i;
    EXPECT_EQ(host[sizes[i]].item<int>(), -1) << i;
  }
}

}  // namespace
}  // namespace heatkv::model
