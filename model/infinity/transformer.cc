#include "model/infinity/transformer.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/infinity/block_names.h"
#include "model/infinity/modulated_norm.h"

namespace heatkv::model {
namespace {

// Rows of one member of every branch's text, one below the other.
at::Tensor Stacked(std::span<const TextCondition* const> texts,
                   at::Tensor TextCondition::*member, int branches) {
  std::vector<at::Tensor> rows;
  for (int branch = 0; branch < branches; ++branch) {
    rows.push_back(texts[branch]->*member);
  }
  return at::cat(rows);
}

// The layers of TextCondition::packed.
std::vector<TextKeysValues> LayersOf(const at::Tensor& packed) {
  std::vector<TextKeysValues> layers;
  for (const at::Tensor& layer : packed.unbind(0)) {
    layers.push_back(
        {.keys = layer[0].transpose(0, 1), .values = layer[1].transpose(0, 1)});
  }
  return layers;
}

}  // namespace

absl::StatusOr<std::unique_ptr<InfinityTransformer>> InfinityTransformer::Load(
    const TransformerSpec& spec, WeightStore weights) {
  const std::vector<std::string> blocks = BlockNames(weights.Names());
  if (static_cast<int>(blocks.size()) != spec.depth) {
    return absl::InvalidArgumentError(
        absl::StrCat("the transformer's files hold ", blocks.size(),
                     " blocks, but the model has depth ", spec.depth));
  }
  auto model =
      std::unique_ptr<InfinityTransformer>(new InfinityTransformer(spec));
  const int width = spec.width;
  const int bits = spec.bits_per_token();
  model->text_ = TextProjection::Take(weights, spec.text_width, width);
  model->unconditional_ =
      weights.Take("cfg_uncond", {spec.text_max_length, spec.text_width});
  model->first_position_ = weights.Take("pos_start", {1, 1, width});
  model->level_embedding_ =
      weights.Take("lvl_embed.weight", {spec.level_embeddings, width});
  model->word_embedding_ = Linear::Take(weights, "word_embed", width, bits);
  for (const std::string& name : blocks) {
    model->blocks_.push_back(
        Block::Take(weights, name, width, spec.heads, spec.mlp_width));
    // At once, so that the memory it was in goes to the next block and no gaps
    // are left.
    if (!model->device().is_cpu()) model->JoinTextProduct();
  }
  model->head_ = Linear::Take(weights, "head", 2 * bits, width);
  RETURN_IF_ERROR(weights.Finish());
  const at::Tensor unconditional =
      model->text_.CrossRows(model->text_.Normalise(model->unconditional_));
  if (model->device().is_cpu()) {
    model->unconditional_rows_ = model->ProjectText(unconditional);
  } else {
    model->unconditional_packed_ = model->Packed(
        model->text_products_(unconditional), spec.text_max_length);
    model->unconditional_rows_ = LayersOf(model->unconditional_packed_);
  }
  return model;
}

std::vector<TextKeysValues> InfinityTransformer::ProjectText(
    const at::Tensor& rows) const {
  std::vector<TextKeysValues> layers;
  for (const Block& block : blocks_) layers.push_back(block.ProjectText(rows));
  return layers;
}

void InfinityTransformer::JoinTextProduct() {
  CrossAttention& attention = blocks_.back().cross_attention();
  const Linear& own = attention.keys_and_values();
  const std::int64_t outputs = own.weight.size(0);
  if (!text_products_.weight.defined()) {
    const std::int64_t all = spec_.depth * outputs;
    text_products_ = {
        .weight = at::empty({all, own.weight.size(1)}, own.weight.options()),
        .bias = at::empty({all}, own.bias.options())};
  }
  const std::int64_t begin =
      static_cast<std::int64_t>(blocks_.size() - 1) * outputs;
  const Linear joined = {
      .weight = text_products_.weight.narrow(0, begin, outputs),
      .bias = text_products_.bias.narrow(0, begin, outputs)};
  joined.weight.copy_(own.weight);
  joined.bias.copy_(own.bias);
  attention.MoveKeysAndValues(joined);
}

at::Tensor InfinityTransformer::Packed(const at::Tensor& products,
                                       int tokens) const {
  return products.narrow(0, 0, tokens)
      .view({tokens, spec_.depth, 2, spec_.heads, spec_.head_width()})
      .permute({1, 2, 0, 3, 4})
      // A single token's would be contiguous already and keep all rows alive.
      .clone(at::MemoryFormat::Contiguous);
}

TextCondition InfinityTransformer::EncodeText(
    const at::Tensor& features) const {
  return CompleteText(CondenseText(features, /*token_bias=*/{}),
                      static_cast<int>(features.size(0)));
}

InfinityTransformer::TextRows InfinityTransformer::CondenseText(
    const at::Tensor& features, const at::Tensor& token_bias) const {
  const at::Tensor normalised = text_.Normalise(features);
  const at::Tensor rows = text_.CrossRows(normalised);
  return {.condition = text_.Condition(normalised, token_bias),
          .rows = device().is_cpu() ? rows : text_products_(rows)};
}

TextCondition InfinityTransformer::CompleteText(const TextRows& text,
                                                int tokens) const {
  HEATKV_CHECK_LE(tokens, text.rows.size(0));
  TextCondition condition = text.condition.WithOwnModulations();
  condition.tokens = tokens;
  if (device().is_cpu()) {
    condition.layers = ProjectText(text.rows.narrow(0, 0, tokens));
  } else {
    condition.packed = Packed(text.rows, tokens);
    condition.layers = LayersOf(condition.packed);
  }
  return condition;
}

TextCondition InfinityTransformer::UnconditionalText(int tokens) const {
  HEATKV_CHECK_LE(tokens, spec_.text_max_length);
  TextCondition text =
      text_.Condition(text_.Normalise(UnconditionalFeatures(tokens)));
  for (const TextKeysValues& layer : unconditional_rows_) {
    text.layers.push_back({.keys = layer.keys.narrow(1, 0, tokens),
                           .values = layer.values.narrow(1, 0, tokens)});
  }
  if (unconditional_packed_.defined()) {
    text.packed = unconditional_packed_.narrow(2, 0, tokens);
  }
  return text;
}

at::Tensor InfinityTransformer::FirstInput(
    std::span<const TextCondition* const> texts) const {
  return Stacked(texts, &TextCondition::pooled, texts.size()).unsqueeze(1) +
         first_position_;
}

at::Tensor InfinityTransformer::NextInput(const at::Tensor& codes,
                                          int branches) const {
  return word_embedding_(codes.to(word_embedding_.weight.scalar_type()))
      .repeat({branches, 1, 1});
}

at::Tensor InfinityTransformer::Forward(
    int scale, at::Tensor x, std::span<const TextCondition* const> texts,
    const at::Tensor& rotations, const StepSlots& slots,
    const RaggedAttention& attention, KeyValueArena& arena) const {
  HEATKV_CHECK_LT(scale, spec_.level_embeddings);
  HEATKV_CHECK_EQ(slots.layers.size(), blocks_.size());
  // Before block 0 only (add_lvl_embeding_only_first_block).
  x.add_(level_embedding_[scale]);
  const at::Tensor modulation =
      Stacked(texts, &TextCondition::block_modulation, texts.size());
  std::vector<const TextKeysValues*> text_of_branch(texts.size());
  for (std::size_t layer = 0; layer < blocks_.size(); ++layer) {
    for (std::size_t branch = 0; branch < texts.size(); ++branch) {
      text_of_branch[branch] = &texts[branch]->layers[layer];
    }
    blocks_[layer].Forward(x, modulation, rotations, text_of_branch,
                           slots.layers[layer], attention, arena);
  }
  return x;
}

at::Tensor InfinityTransformer::Logits(
    const at::Tensor& x, std::span<const TextCondition* const> texts,
    int branches) const {
  return head_(ModulatedNorm(
                   x.narrow(0, 0, branches),
                   Stacked(texts, &TextCondition::head_scale, branches),
                   Stacked(texts, &TextCondition::head_shift, branches)))
      .to(at::kFloat);
}

}  // namespace heatkv::model
