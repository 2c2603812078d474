// Philox4x32-10: a counter-based random number generator (J. Salmon et al.,
// "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//
// A pure function of key and counter, so that any bit of any image can be drawn
// alone, in any order, on any device, with the same result.

#ifndef MODEL_INFINITY_PHILOX_H_
#define MODEL_INFINITY_PHILOX_H_

#include <array>
#include <cstdint>

namespace heatkv::model {

using PhiloxCounter = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

// Four independent, uniformly distributed 32-bit numbers.
constexpr PhiloxCounter Philox4x32(PhiloxCounter counter, PhiloxKey key) {
  constexpr std::uint64_t kMultiplier0 = 0xD2511F53;
  constexpr std::uint64_t kMultiplier1 = 0xCD9E8D57;
  constexpr std::uint32_t kWeyl0 = 0x9E3779B9;
  constexpr std::uint32_t kWeyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = kMultiplier0 * counter[0];
    const std::uint64_t product1 = kMultiplier1 * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<std::uint32_t>(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

// A float in [0, 1): the 24 high bits of `word`.
constexpr float UnitFloat(std::uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_PHILOX_H_
