// From the head's logits to the probabilities of bits: temperature, guidance
// and the top-p rule (specification sections 1.3 and 4.2).

#ifndef MODEL_INFINITY_BIT_PROBABILITIES_H_
#define MODEL_INFINITY_BIT_PROBABILITIES_H_

#include <ATen/core/Tensor.h>

namespace heatkv::model {

// Guided logits of one image.  `logits` [branches, tokens, 2 * bits], the
// conditional branch first; the unconditional one is needed, and looked at,
// only if guidance is not 1.  Returns [tokens, bits, 2], where the last
// dimension is "is 0", "is 1":
//
//   guidance * conditional / tau + (1 - guidance) * unconditional / tau
at::Tensor GuidedLogits(const at::Tensor& logits, double guidance, double tau);

// Softmax over the last dimension of [tokens, bits, 2], in which then a class
// whose probability is at most 1 - top_p loses it to the other, likelier class.
// (The authors' top-k of 900 never binds with two classes.)
at::Tensor BitProbabilities(const at::Tensor& guided_logits, double top_p);

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_BIT_PROBABILITIES_H_
