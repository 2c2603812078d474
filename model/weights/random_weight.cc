#include "model/weights/random_weight.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "absl/strings/match.h"

namespace heatkv::model {
namespace {

struct Law {
  double deviation = 0;
  double mean = 0;
};

Law LawOf(const std::string& name, const Shape& shape) {
  if (absl::StrContains(name, "scale_mul")) return {0, std::log(4.0)};
  if (absl::EndsWith(name, "ada_gss")) return {0.1};
  if (absl::EndsWith(name, "bias") ||
      absl::EndsWith(name, "lvl_embed.weight")) {
    return {0.1};
  }
  if (shape.size() == 1) return {0.02, 1};
  // Tables whose rows are looked up or learned, not multiplied with.
  if (!absl::EndsWith(name, ".weight") ||
      absl::EndsWith(name, "shared.weight") ||
      absl::EndsWith(name, "relative_attention_bias.weight")) {
    return {1};
  }
  double inputs = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) inputs *= shape[i];
  return {1 / std::sqrt(inputs)};
}

}  // namespace

at::Generator RandomGenerator(std::uint64_t seed, at::Device device) {
  if (device.is_cpu()) return at::detail::createCPUGenerator(seed);
  at::globalContext().lazyInitDevice(device.type());
  at::Generator generator = at::globalContext().defaultGenerator(device);
  generator.set_current_seed(seed);
  return generator;
}

at::Tensor RandomWeight(const std::string& name, const Shape& shape,
                        at::Generator& generator, at::Device device) {
  const Law law = LawOf(name, shape);
  return at::randn(shape, generator,
                   at::TensorOptions(at::kFloat).device(device))
      .mul_(law.deviation)
      .add_(law.mean);
}

}  // namespace heatkv::model
