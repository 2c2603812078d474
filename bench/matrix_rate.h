// What the GPU can do at most: the rate of one large product of matrices.

#ifndef BENCH_MATRIX_RATE_H_
#define BENCH_MATRIX_RATE_H_

#include "absl/status/statusor.h"

namespace heatkv::server {

// Floating-point operations a second of bfloat16 products of random matrices
// [8192, 8192] on GPU number `gpu`: the mean of twenty after ten that are not
// counted.  Takes 0.4 GB of the device meanwhile.
absl::StatusOr<double> MeasureMatrixRate(int gpu);

}  // namespace heatkv::server

#endif  // BENCH_MATRIX_RATE_H_
