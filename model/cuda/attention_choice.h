// Which kernel computes self-attention on a GPU.  Their results differ by
// rounding, so a server uses one for all scales of all images.

#ifndef MODEL_CUDA_ATTENTION_CHOICE_H_
#define MODEL_CUDA_ATTENTION_CHOICE_H_

namespace heatkv::model {

enum class AttentionChoice {
  kFastest,          // kHopper where it runs, else kFlashAttention2
  kFlashAttention2,  // LibTorch's, on any GPU
  kHopper,           // model/kernels/hopper_attention.h
};

}  // namespace heatkv::model

#endif  // MODEL_CUDA_ATTENTION_CHOICE_H_
