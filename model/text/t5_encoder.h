// The encoder of T5 1.1 / Flan-T5: token ids to text features (specification
// section 1.1).  Pre-norm residual blocks, root-mean-square normalisation,
// attention without 1/sqrt(d), one relative position bias shared by all layers,
// gated GELU.  The residual stream is always float32, because it overflows
// float16; products are computed in the dtype of their weights.
//
// Only the prompt's own tokens are encoded: with the padding masked, as the
// authors run it, the result is the same.  Whoever wants few shapes pads as
// they do: by a position bias that hides the padding.
//
// Products of the same operand are one: queries, keys and values, and the two
// halves of the gated layer.
//
// Immutable after loading; any thread may encode.

#ifndef MODEL_TEXT_T5_ENCODER_H_
#define MODEL_TEXT_T5_ENCODER_H_

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "model/api/model_spec.h"
#include "model/weights/weight_store.h"

namespace heatkv::model {

class T5Encoder {
 public:
  // Takes every tensor of `weights`, by Hugging Face's names.  Fails with
  // InvalidArgument if they are not exactly those of `spec`.
  static absl::StatusOr<std::unique_ptr<T5Encoder>> Load(
      const TextEncoderSpec& spec, WeightStore weights);

  // Of matrices of an encoder on a CPU that helps a GPU, which computes in
  // bfloat16 anyway: bfloat16 if the CPU has instructions for it, else float32.
  static at::ScalarType HostDtype();

  // ids, each in [0, vocabulary) -> float32 features [ids, width], on the
  // weights' device.
  at::Tensor Encode(const std::vector<int>& ids) const;

  // What is added to the attention's logits, [1, heads, query, key], in the
  // products' dtype.  That of fewer tokens is its beginning in both dimensions.
  at::Tensor PositionBias(int tokens) const;

  // ids int32 [rows] on the weights' device, with a bias of as many rows, in
  // which minus infinity hides a key from a query.  Features [rows, width]; of
  // ids that are hidden from everybody they mean nothing.
  at::Tensor Encode(const at::Tensor& ids,
                    const at::Tensor& position_bias) const;

 private:
  struct Layer {
    at::Tensor attention_norm;     // [width]
    at::Tensor query_key_value;    // [3 * heads * head width, width]
    at::Tensor output;             // [width, heads * head width]
    at::Tensor feed_forward_norm;  // [width]
    at::Tensor gate_and_widen;     // wi_0 and wi_1, [2 * mlp width, width]
    at::Tensor narrow;             // wo
  };

  explicit T5Encoder(const TextEncoderSpec& spec) : spec_(spec) {}
  at::Tensor Attend(const Layer& layer, const at::Tensor& x,
                    const at::Tensor& position_bias) const;

  TextEncoderSpec spec_;
  at::Tensor embedding_;      // [vocabulary, width]
  at::Tensor position_bias_;  // [relative_buckets, heads]
  std::vector<Layer> layers_;
  at::Tensor final_norm_;
};

}  // namespace heatkv::model

#endif  // MODEL_TEXT_T5_ENCODER_H_
