// Bits by recorded random draws, the way torch's multinomial chooses: of two
// classes the one whose probability divided by its Exponential(1) draw is
// larger (specification section 4.2).

#ifndef MODEL_PARITY_RECORDED_BITS_H_
#define MODEL_PARITY_RECORDED_BITS_H_

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

#include "model/infinity/bit_source.h"

namespace heatkv::model {

class RecordedBits : public BitSource {
 public:
  // draws[s] holds those of scale s: float32 [tokens, bits, 2].
  explicit RecordedBits(std::vector<at::Tensor> draws)
      : draws_(std::move(draws)) {}

  at::Tensor Draw(int scale, const at::Tensor& probabilities) override;

 private:
  std::vector<at::Tensor> draws_;
};

}  // namespace heatkv::model

#endif  // MODEL_PARITY_RECORDED_BITS_H_
