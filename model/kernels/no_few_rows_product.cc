// For programs whose CUDA architectures do not include 9.0.

#include "model/kernels/few_rows_product.h"

namespace heatkv::kernels {

bool CanMultiplyFewRows(std::int64_t, std::int64_t) { return false; }

void Launch(const FewRowsProduct& work, Stream) {
  throw CudaError(
      "this program has no products of few rows for Hopper GPUs, "
      "asked for one of " +
      std::to_string(work.rows) + " rows");
}

}  // namespace heatkv::kernels
