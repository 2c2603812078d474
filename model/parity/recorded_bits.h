// Bits by recorded random draws, the way torch's multinomial chooses: of two
// classes the one whose probability divided by its Exponential(1) draw is
// larger (specification section 4.2).  Other bits than the drawn ones can be
// fed on, so that every scale is compared on the history of the recorded run.

#ifndef MODEL_PARITY_RECORDED_BITS_H_
#define MODEL_PARITY_RECORDED_BITS_H_

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

#include "model/infinity/bit_source.h"

namespace heatkv::model {

class RecordedBits : public BitSource {
 public:
  // draws[s] holds those of scale s: float32 [tokens, bits, 2].  fed[s], if
  // `fed` is not empty, are the bits that Draw returns: bool [tokens, bits].
  RecordedBits(std::vector<at::Tensor> draws, std::vector<at::Tensor> fed)
      : draws_(std::move(draws)), fed_(std::move(fed)) {}

  at::Tensor Draw(int scale, const at::Tensor& probabilities) override;

  // What the draws of the latest Draw came to.
  const at::Tensor& drawn() const { return drawn_; }

 private:
  std::vector<at::Tensor> draws_;
  std::vector<at::Tensor> fed_;
  at::Tensor drawn_;
};

}  // namespace heatkv::model

#endif  // MODEL_PARITY_RECORDED_BITS_H_
