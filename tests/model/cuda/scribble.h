// Somebody else's work in an arena, which leaves numbers that are none wherever
// it is free: what reads there too late, finds them.

#ifndef TESTS_MODEL_CUDA_SCRIBBLE_H_
#define TESTS_MODEL_CUDA_SCRIBBLE_H_

#include <ATen/ATen.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "model/cuda/work_arena.h"

namespace heatkv::model {

// Tensors of the arena's pages for small ones and of its large piece.
inline void Scribble(WorkArena& arena) {
  const WorkArena::Use use(arena);
  std::vector<at::Tensor> taken;
  for (const std::int64_t values : {1 << 8, 1 << 14, 1 << 17, 1 << 20}) {
    for (int i = 0; i < 24; ++i) {
      taken.push_back(
          at::full({values}, std::numeric_limits<float>::quiet_NaN(),
                   at::TensorOptions(at::kFloat).device(at::kCUDA, 0)));
    }
  }
}

}  // namespace heatkv::model

#endif  // TESTS_MODEL_CUDA_SCRIBBLE_H_
