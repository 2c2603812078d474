// What must hold inside a ModelSpec for a network to be built from it, before
// any weight is read.

#ifndef MODEL_SPEC_RULES_H_
#define MODEL_SPEC_RULES_H_

#include "absl/status/status.h"
#include "model/api/model_spec.h"

namespace heatkv::model {

// Fails with InvalidArgument, naming the field and both numbers, if a dimension
// is less than 1, or dimensions that belong together do not fit: heads and
// width, text encoder and transformer, tokenizer and text length, ladders and
// level embeddings, VAE channels and normalisation groups.
absl::Status CheckSpec(const ModelSpec& spec);

// The rules for the transformer alone.
absl::Status CheckTransformerSpec(const TransformerSpec& spec);

// The rules for the VAE alone.
absl::Status CheckVaeSpec(const VaeSpec& spec);

}  // namespace heatkv::model

#endif  // MODEL_SPEC_RULES_H_
