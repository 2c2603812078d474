#include "model/parity/recorded_bits.h"

#include <ATen/ATen.h>

namespace heatkv::model {

at::Tensor RecordedBits::Draw(int scale, const at::Tensor& probabilities) {
  const at::Tensor race = probabilities / draws_.at(scale);
  drawn_ = race.select(-1, 1) > race.select(-1, 0);
  return fed_.empty() ? drawn_ : fed_.at(scale);
}

}  // namespace heatkv::model
