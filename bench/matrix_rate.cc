#include "bench/matrix_rate.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/core/DeviceGuard.h>

#include "absl/time/clock.h"
#include "model/cuda/memory_report.h"
#include "model/torch_exceptions.h"

namespace heatkv::server {
namespace {

constexpr int kSide = 8192;
constexpr int kWarm = 10;
constexpr int kCounted = 20;

double Measure(int gpu) {
  const at::Device device(at::kCUDA, static_cast<at::DeviceIndex>(gpu));
  const c10::DeviceGuard guard(device);
  const auto options = at::TensorOptions(at::kBFloat16).device(device);
  const at::Tensor left = at::randn({kSide, kSide}, options);
  const at::Tensor right = at::randn({kSide, kSide}, options);
  at::Tensor product = at::empty({kSide, kSide}, options);
  absl::Time begin;
  for (int i = 0; i < kWarm + kCounted; ++i) {
    if (i == kWarm) {
      at::cuda::getCurrentCUDAStream().synchronize();
      begin = absl::Now();
    }
    at::mm_out(product, left, right);
  }
  at::cuda::getCurrentCUDAStream().synchronize();
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  return kCounted * 2.0 * kSide * kSide * kSide / seconds;
}

}  // namespace

absl::StatusOr<double> MeasureMatrixRate(int gpu) {
  auto rate = model::WithoutExceptions(
      "measuring a product of matrices",
      [&]() -> absl::StatusOr<double> { return Measure(gpu); });
  model::ReleaseUnusedMemory();
  return rate;
}

}  // namespace heatkv::server
