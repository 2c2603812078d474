#include "model/parity/recorded_bits.h"

#include <ATen/ATen.h>

namespace heatkv::model {

at::Tensor RecordedBits::Draw(int scale, const at::Tensor& probabilities) {
  const at::Tensor race = probabilities / draws_.at(scale);
  return race.select(-1, 1) > race.select(-1, 0);
}

}  // namespace heatkv::model
