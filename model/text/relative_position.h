// T5's relative position bias: which learned bucket the distance between two
// tokens falls into (C. Raffel et al., "Exploring the limits of transfer
// learning", JMLR 2020; bidirectional form).

#ifndef MODEL_TEXT_RELATIVE_POSITION_H_
#define MODEL_TEXT_RELATIVE_POSITION_H_

#include <ATen/core/Tensor.h>

namespace heatkv::model {

// Buckets of key position minus query position, int64 [tokens, tokens] (query,
// key).  Half of the buckets are for keys that come later; in each half the
// first half are for exact distances and the others grow logarithmically up to
// max_distance, beyond which all share the last.
at::Tensor RelativePositionBuckets(int tokens, int buckets, int max_distance);

}  // namespace heatkv::model

#endif  // MODEL_TEXT_RELATIVE_POSITION_H_
