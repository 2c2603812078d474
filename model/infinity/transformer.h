// The Infinity transformer: weights and the computation of one scale of one
// image (specification sections 1.2, 1.3, 3 and 4.1).  It holds no image; what
// belongs to one is in ImageInFlight.
//
// Immutable after loading.  Used by one thread.

#ifndef MODEL_INFINITY_TRANSFORMER_H_
#define MODEL_INFINITY_TRANSFORMER_H_

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "model/api/model_spec.h"
#include "model/infinity/block.h"
#include "model/infinity/key_value_arena.h"
#include "model/infinity/linear.h"
#include "model/infinity/ragged_attention.h"
#include "model/infinity/step_slots.h"
#include "model/infinity/text_condition.h"
#include "model/weights/weight_store.h"

namespace heatkv::model {

class InfinityTransformer {
 public:
  // Takes every tensor of `weights`.  Fails with InvalidArgument if they are
  // not exactly those of `spec`.
  static absl::StatusOr<std::unique_ptr<InfinityTransformer>> Load(
      const TransformerSpec& spec, WeightStore weights);

  const TransformerSpec& spec() const { return spec_; }
  at::Device device() const { return first_position_.device(); }

  // For whoever computes a scale in another way.
  const std::vector<Block>& blocks() const { return blocks_; }
  const at::Tensor& level_embedding() const { return level_embedding_; }
  const Linear& word_embedding() const { return word_embedding_; }
  const Linear& head() const { return head_; }

  // features [tokens, text_width], 1 <= tokens <= text_max_length.
  TextCondition EncodeText(const at::Tensor& features) const;

  // The two halves of EncodeText, for texts that are padded to some rows.  The
  // first has the same shapes for all of them; `token_bias`, float32 [rows],
  // hides the padding (AttentivePooling).
  struct TextRows {
    TextCondition condition;  // without layers
    // What cross-attention sees: [rows, width], or on a GPU keys and values of
    // all layers, [rows, layers * 2 * width].
    at::Tensor rows;
  };
  TextRows CondenseText(const at::Tensor& features,
                        const at::Tensor& token_bias) const;
  // The text of the first `tokens` rows, in memory of its own.
  TextCondition CompleteText(const TextRows& text, int tokens) const;

  // The unconditional text that stands beside a prompt of `tokens` tokens.
  TextCondition UnconditionalText(int tokens) const;

  // Text-side intermediate values, for comparison with recorded ones.
  const TextProjection& text_projection() const { return text_; }
  at::Tensor UnconditionalFeatures(int tokens) const {
    return unconditional_.narrow(0, 0, tokens);
  }

  // Input of scale 0: [branches, 1, width].
  at::Tensor FirstInput(std::span<const TextCondition* const> texts) const;

  // Input of a later scale from the canvas's view of it [1, tokens, bits a
  // token]: [branches, tokens, width].
  at::Tensor NextInput(const at::Tensor& codes, int branches) const;

  // Runs all blocks on the input x [branches, tokens, width] of `scale`, which
  // is used up.  Reads and writes the arena as `slots` say.
  at::Tensor Forward(int scale, at::Tensor x,
                     std::span<const TextCondition* const> texts,
                     const at::Tensor& rotations, const StepSlots& slots,
                     const RaggedAttention& attention,
                     KeyValueArena& arena) const;

  // Raw logits of the first `branches` rows of Forward's result, float32
  // [branches, tokens, 2 * bits a token].
  at::Tensor Logits(const at::Tensor& x,
                    std::span<const TextCondition* const> texts,
                    int branches) const;

 private:
  explicit InfinityTransformer(const TransformerSpec& spec) : spec_(spec) {}
  // What each layer sees of a text, from TextProjection::CrossRows.
  std::vector<TextKeysValues> ProjectText(const at::Tensor& rows) const;
  // On a GPU: moves the last block's product for it to those of all layers,
  // which are computed at once (TextCondition::packed).
  void JoinTextProduct();
  // The first `tokens` rows of what the joined products make.
  at::Tensor Packed(const at::Tensor& products, int tokens) const;

  TransformerSpec spec_;
  TextProjection text_;
  at::Tensor unconditional_;    // cfg_uncond, [text_max_length, text_width]
  at::Tensor first_position_;   // pos_start, [1, 1, width]
  at::Tensor level_embedding_;  // [level_embeddings, width]
  Linear word_embedding_;
  std::vector<Block> blocks_;
  Linear head_;
  // On a GPU: every block's product for keys and values of the text, of which
  // the blocks have views.
  Linear text_products_;
  // On a GPU: all of the following in one piece (TextCondition::packed).
  at::Tensor unconditional_packed_;
  // Keys and values of all rows of cfg_uncond: row i's do not depend on how
  // many rows a prompt needs.
  std::vector<TextKeysValues> unconditional_rows_;  // of each layer
};

}  // namespace heatkv::model

#endif  // MODEL_INFINITY_TRANSFORMER_H_
