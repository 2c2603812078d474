// Which kernel computes self-attention on a GPU.  Their results differ by
// rounding, so a server uses the same one for a scale of all images.

#ifndef MODEL_CUDA_ATTENTION_CHOICE_H_
#define MODEL_CUDA_ATTENTION_CHOICE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace heatkv::model {

enum class AttentionChoice {
  // "auto": kShort for scales of few keys, for the others kHopper where it
  // runs, else kFlashAttention2
  kFastest,
  kFlashAttention2,  // "fa2": LibTorch's, on any GPU
  kHopper,           // "hopper": model/kernels/hopper_attention.h
  kShort,            // "short": model/kernels/short_attention.h, on any GPU
};

// As values of command line flags.
bool AbslParseFlag(absl::string_view text, AttentionChoice* choice,
                   std::string* error);
std::string AbslUnparseFlag(AttentionChoice choice);

}  // namespace heatkv::model

#endif  // MODEL_CUDA_ATTENTION_CHOICE_H_
