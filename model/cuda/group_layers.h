// All blocks of the transformer and its head for the rows of a group on a GPU:
// what InfinityTransformer::Forward and Logits compute out of torch's
// operators, here with the residual stream, norms, rotations and copies in
// kernels of our own.

#ifndef MODEL_CUDA_GROUP_LAYERS_H_
#define MODEL_CUDA_GROUP_LAYERS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/cuda/attention_choice.h"
#include "model/cuda/layer_products.h"
#include "model/cuda/placed_modulations.h"
#include "model/cuda/step_tables.h"
#include "model/infinity/key_value_arena.h"
#include "model/infinity/transformer.h"

namespace heatkv::model {

// What goes into the blocks at `scale`, float32 [slots * branches, tokens,
// width]: of the codes of which every slot's input is made, [slots, tokens,
// bits a token], or at scale 0 of the inputs themselves (InfinityTransformer::
// FirstInput) [slots * branches, 1, width], which are used up.
at::Tensor GroupInput(const InfinityTransformer& transformer, int scale,
                      at::Tensor codes, int branches);

// x is GroupInput's, or any [rows, tokens, width], and is used up.
// `rotations` float32 [tokens, head width / 2, 2].  Staging gets `staging_rows`
// rows, at least as many as a layer's sequences have keys.  most_keys bounds
// the keys of a sequence and must be the same for every group at this scale.
// Nothing but tensors on the GPU is read that could differ between groups of
// one shape, so the work can be recorded.  The head's product, cuBLAS's, has
// the shape of `head_rows` rows, at least as many as there are.  Returns
// float32 [rows, tokens, 2 * bits a token].
at::Tensor GroupLogits(const InfinityTransformer& transformer, at::Tensor x,
                       const GroupModulations& modulations,
                       const at::Tensor& rotations, const StepTables& tables,
                       std::int64_t staging_rows, std::int64_t most_keys,
                       AttentionChoice attention, LayerProducts products,
                       std::int64_t head_rows, KeyValueArena& arena);

}  // namespace heatkv::model

#endif  // MODEL_CUDA_GROUP_LAYERS_H_
