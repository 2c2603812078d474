// Where a token's bits come from, given their probabilities.  The server draws
// them from counter-based random numbers; a parity run forces recorded draws.

#ifndef MODEL_INFINITY_BIT_SOURCE_H_
#define MODEL_INFINITY_BIT_SOURCE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace heatkv::model {

class BitSource {
 public:
  virtual ~BitSource() = default;

  // probabilities float32 [tokens, bits, 2] of 0 and 1 for one image at
  // `scale`. Returns bool [tokens, bits] on the same device.
  virtual at::Tensor Draw(int scale, const at::Tensor& probabilities) = 0;
};

// Bit b of token t at scale s of image i is 1 if the uniform number of the
// counter (i, s, t, b) under the key `seed` is less than its probability.  It
// depends on nothing else: not on batch, order, device or number of devices.
class PhiloxBits : public BitSource {
 public:
  PhiloxBits(std::uint64_t seed, std::uint32_t image)
      : seed_(seed), image_(image) {}

  at::Tensor Draw(int scale, const at::Tensor& probabilities) override;

  // The uniform numbers of one scale, float32 [tokens, bits] in [0, 1).  Four
  // neighbouring bits share a Philox counter (image, scale, token, bit / 4) and
  // take its four words.
  at::Tensor Uniforms(int scale, std::int64_t tokens, std::int64_t bits) const;

 private:
  std::uint64_t seed_;
  std::uint32_t image_;
};

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_BIT_SOURCE_H_
