// What tests of kernels share: random tensors on the GPU, and how far a result
// is from the truth.

#ifndef TESTS_MODEL_CUDA_KERNEL_INPUTS_H_
#define TESTS_MODEL_CUDA_KERNEL_INPUTS_H_

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <chrono>

#include "model/cuda/kernel_calls.h"

namespace heatkv::model {

inline double RelativeError(const at::Tensor& mine, const at::Tensor& truth) {
  const at::Tensor a = mine.cpu().to(at::kDouble);
  const at::Tensor b = truth.cpu().to(at::kDouble);
  if (a.sizes() != b.sizes() || !a.isfinite().all().item<bool>()) return 1e30;
  return ((a - b).norm() / b.norm()).item<double>();
}

inline double Milliseconds(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now() - begin)
      .count();
}

// Skipped where no GPU is.
class KernelsTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (CudaDevices() == 0) GTEST_SKIP() << "no CUDA device";
  }
  at::Tensor Random(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
    return at::randn(shape, generator_, at::TensorOptions(at::kFloat))
        .to(dtype)
        .to(at::kCUDA);
  }
  static at::Tensor Double(const at::Tensor& x) {
    return x.cpu().to(at::kDouble);
  }
  at::Generator generator_ = at::detail::createCPUGenerator(91);
};

}  // namespace heatkv::model

#endif  // TESTS_MODEL_CUDA_KERNEL_INPUTS_H_
