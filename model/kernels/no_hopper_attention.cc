// For programs whose CUDA architectures do not include 9.0.

#include "model/kernels/hopper_attention.h"

namespace heatkv::kernels {

bool CanRunHopperAttention(int) { return false; }

int HopperBlocks() {
  throw CudaError("this program has no attention for Hopper GPUs");
}

void Launch(const HopperAttention&, Stream) { HopperBlocks(); }

}  // namespace heatkv::kernels
