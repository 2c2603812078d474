#include "model/infinity/bit_source.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "model/infinity/philox.h"

namespace heatkv::model {

at::Tensor PhiloxBits::Uniforms(int scale, std::int64_t tokens,
                                std::int64_t bits) const {
  at::Tensor uniforms = at::empty({tokens, bits}, at::kFloat);
  float* out = uniforms.mutable_data_ptr<float>();
  const PhiloxKey key = {static_cast<std::uint32_t>(seed_),
                         static_cast<std::uint32_t>(seed_ >> 32)};
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (std::int64_t bit = 0; bit < bits; bit += 4) {
      const PhiloxCounter words =
          Philox4x32({image_, static_cast<std::uint32_t>(scale),
                      static_cast<std::uint32_t>(token),
                      static_cast<std::uint32_t>(bit / 4)},
                     key);
      const std::int64_t count = std::min<std::int64_t>(4, bits - bit);
      for (std::int64_t i = 0; i < count; ++i) *out++ = UnitFloat(words[i]);
    }
  }
  return uniforms;
}

at::Tensor PhiloxBits::Draw(int scale, const at::Tensor& probabilities) {
  const at::Tensor of_one = probabilities.select(-1, 1);
  return Uniforms(scale, of_one.size(0), of_one.size(1))
      .to(of_one.device())
      .lt(of_one);
}

}  // namespace heatkv::model
