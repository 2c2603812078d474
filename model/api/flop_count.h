// How much arithmetic an image is: the denominators of every statement like "at
// 70 % of what the device can do".  Floating-point operations, two for each
// multiplication with addition, of what must be computed (specification section
// 8.1): a scale's products once, keys and values of a text once a request,
// attention to what a schedule kept.  Norms, softmax and sampling are left out,
// as is customary.
//
// Pure functions of a model's shape.  Thread safety: stateless.

#ifndef MODEL_API_FLOP_COUNT_H_
#define MODEL_API_FLOP_COUNT_H_

#include "cache/schedule.h"
#include "model/api/model_spec.h"

namespace heatkv::model {

// Of one scale of one image, all branches.
struct ScaleFlops {
  double products = 0;         // of the blocks
  double self_attention = 0;   // to what the schedule kept and the scale itself
  double cross_attention = 0;  // to the text
  double ends = 0;             // input and head

  double total() const {
    return products + self_attention + cross_attention + ends;
  }
};

// `scale` of an image whose cache follows `schedule`, with a text of
// `text_tokens` for each of the `branches`.
ScaleFlops FlopsOfScale(const TransformerSpec& spec,
                        const cache::Schedule& schedule, int scale,
                        int branches, int text_tokens);

// Of all blocks' keys and values of a text.
double FlopsOfTextKeys(const TransformerSpec& spec, int text_tokens);

double FlopsOfTextEncoder(const TextEncoderSpec& spec, int tokens);

// Of decoding `cells` summed codes of `bits` bits.
double FlopsOfDecoding(const VaeSpec& spec, int bits, int cells);

}  // namespace heatkv::model

#endif  // MODEL_API_FLOP_COUNT_H_
