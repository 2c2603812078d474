// The work lists of model/kernels/attention_work.h made on the host, out of the
// law as it is written there: what the GPU's lists are compared with.

#ifndef TESTS_MODEL_CUDA_ATTENTION_DEALING_H_
#define TESTS_MODEL_CUDA_ATTENTION_DEALING_H_

#include <cstdint>
#include <span>
#include <vector>

#include "model/kernels/attention_work.h"

namespace heatkv::model {

// The list of a layer, of AttentionWorkLayout(shape).size().  key_begin has
// sequences + 1 values.
std::vector<std::int32_t> DealAttention(
    const kernels::AttentionShape& shape,
    std::span<const std::int32_t> key_begin);

// What each block's tiles cost by such a list.
std::vector<std::int64_t> BlockCosts(const kernels::AttentionShape& shape,
                                     std::span<const std::int32_t> list);

}  // namespace heatkv::model

#endif  // TESTS_MODEL_CUDA_ATTENTION_DEALING_H_
