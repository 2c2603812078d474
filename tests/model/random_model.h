// Small models with seeded random weights, for tests.

#ifndef TESTS_MODEL_RANDOM_MODEL_H_
#define TESTS_MODEL_RANDOM_MODEL_H_

#include <memory>
#include <string>

#include "model/api/model_spec.h"
#include "model/infinity/transformer.h"
#include "tests/model/safetensors_writer.h"

namespace heatkv::model {

// Two layers of two heads, head width 8, four bits.
TransformerSpec SmallTransformerSpec();

// Every tensor that the official names ask for, as two block chunks where the
// depth is even and as `blocks` elsewhere.
NamedTensors RandomTransformerWeights(const TransformerSpec& spec, int seed);
NamedTensors RandomVaeWeights(const VaeSpec& spec, int bits, int seed);
NamedTensors RandomTextWeights(const TextEncoderSpec& spec, int seed);

// Loads such a transformer through a file.
std::unique_ptr<InfinityTransformer> RandomTransformer(
    const TransformerSpec& spec, int seed);

// Writes a whole small model, weights and tokenizer, and returns its spec.
ModelSpec WriteRandomModel(const TemporaryFolder& folder, int seed);

}  // namespace heatkv::model

#endif  // TESTS_MODEL_RANDOM_MODEL_H_
