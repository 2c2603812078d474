// Where the keys and values of a group's texts lie on a GPU, row by row, for
// kernels that read them there.
//
// Nobody holds the texts for the device but the images that have them.  That
// suffices, because an image has them longer than the host enqueues its steps,
// and because texts are allocated on the stream on which steps run (the one
// that is torch's current stream at every call): memory that becomes free is
// given away again to what comes later on that stream.

#ifndef MODEL_CUDA_ROW_TEXTS_H_
#define MODEL_CUDA_ROW_TEXTS_H_

#include <span>
#include <vector>

#include "model/infinity/text_condition.h"
#include "model/kernels/cross_attention.h"

namespace heatkv::model {

// Of texts[row].  REQUIRES: each is `packed`, in bf16.
std::vector<kernels::RowText> RowTexts(
    std::span<const TextCondition* const> texts);

}  // namespace heatkv::model

#endif  // MODEL_CUDA_ROW_TEXTS_H_
