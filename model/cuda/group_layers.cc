#include "model/cuda/group_layers.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "cache/geometry.h"
#include "model/cuda/kernel_calls.h"
#include "model/cuda/staged_attention.h"
#include "model/infinity/modulated_norm.h"
#include "model/kernels/cross_attention.h"
#include "model/kernels/embed_codes.h"
#include "model/kernels/residual_norm.h"
#include "model/kernels/rotate_scatter.h"
#include "model/kernels/span_copy.h"

namespace heatkv::model {
namespace {

// Order in the files.
enum Modulation { kGamma1, kGamma2, kScale1, kScale2, kShift1, kShift2 };

// The residual stream of a group and what has still to be added to it.
class Stream {
 public:
  Stream(at::Tensor x, const GroupModulations& modulations)
      : x_(std::move(x)), modulations_(modulations) {
    work_.x = x_.mutable_data_ptr<float>();
    work_.rows = static_cast<int>(x_.size(0));
    work_.tokens = static_cast<int>(x_.size(1));
    work_.width = static_cast<int>(x_.size(2));
    work_.epsilon = static_cast<float>(kNormEpsilon);
  }

  // A branch that the next norm adds, in bf16 [rows * tokens, width], gated by
  // the modulation `gate` of `block`, if one is given.
  void Add(const at::Tensor& added) {
    added_ = added;
    work_.gated = false;
  }
  void Add(const at::Tensor& added, const Block& block, Modulation gate) {
    added_ = added;
    work_.gated = true;
    work_.gate = Part(block, gate);
  }

  // Adds what there is to add, and normalises: with modulations of `block`, ...
  at::Tensor Norm(const Block& block, Modulation scale, Modulation shift) {
    work_.offset = 1;
    work_.scale = Part(block, scale);
    work_.shift = Part(block, shift);
    return RunToBf16();
  }
  // ... with the block's own weight and bias, while `stores` are stored, ...
  at::Tensor CrossNorm(const Block& block, const kernels::SpanCopy& stores) {
    work_.stores = stores;
    work_.offset = 0;
    work_.scale = {.layer = block.cross_norm_weight().const_data_ptr<float>()};
    work_.shift = {.layer = block.cross_norm_bias().const_data_ptr<float>()};
    return RunToBf16();
  }
  // ... or for the head, in float32, with zeros up to `rows` rows.
  at::Tensor HeadNorm(std::int64_t rows) {
    work_.offset = 1;
    work_.scale = {.rows = modulations_.head_scale.const_data_ptr<float>(),
                   .row_stride = work_.width};
    work_.shift = {.rows = modulations_.head_shift.const_data_ptr<float>(),
                   .row_stride = work_.width};
    const std::int64_t tokens = x_.size(0) * x_.size(1);
    at::Tensor out = at::empty({rows * x_.size(1), x_.size(2)}, x_.options());
    out.narrow(0, tokens, out.size(0) - tokens).zero_();
    Run(out);
    return out;
  }

 private:
  kernels::RowVector Part(const Block& block, Modulation which) const {
    const std::int64_t offset = which * std::int64_t{work_.width};
    return {.layer = block.modulation().const_data_ptr<float>() + offset,
            .rows = modulations_.block.const_data_ptr<float>() + offset,
            .row_stride = 6 * std::int64_t{work_.width}};
  }

  at::Tensor RunToBf16() {
    at::Tensor out = EmptyRows(x_.size(0) * x_.size(1), x_.size(2),
                               x_.options().dtype(at::kBFloat16));
    Run(out);
    return out;
  }

  void Run(at::Tensor& out) {
    const bool is_bf16 = out.scalar_type() == at::kBFloat16;
    work_.added = added_.defined() ? added_.const_data_ptr() : nullptr;
    work_.out_bf16 = is_bf16 ? out.mutable_data_ptr() : nullptr;
    work_.out_float = is_bf16 ? nullptr : out.mutable_data_ptr<float>();
    kernels::Launch(work_, CurrentStream());
    work_.stores = {};
    added_.reset();
  }

  at::Tensor x_;
  const GroupModulations& modulations_;
  at::Tensor added_;
  kernels::ResidualNorm work_;
};

// Attention of the current scale, with what it reads from and leaves in the
// arena.
class Staging {
 public:
  Staging(const StepTables& tables, const TransformerSpec& spec,
          std::int64_t rows, std::int64_t tokens, const at::Tensor& rotations,
          std::int64_t staging_rows, std::int64_t most_keys,
          AttentionChoice choice, KeyValueArena& arena)
      : tables_(tables),
        heads_(spec.heads),
        head_width_(spec.head_width()),
        rows_(rows),
        tokens_(tokens),
        rotations_(rotations),
        arena_(arena),
        keys_(at::empty(
            {std::max<std::int64_t>(2, staging_rows), 1, head_width_},
            at::TensorOptions(at::kBFloat16).device(rotations.device()))),
        values_(at::empty_like(keys_)),
        attention_(StagedAttention::Create(choice, tables,
                                           {.rows = rows,
                                            .heads = heads_,
                                            .tokens = tokens,
                                            .most_keys = most_keys},
                                           keys_, values_)) {}

  // product bf16 [rows * tokens, 3 * width] -> [rows * tokens, width].
  at::Tensor Attend(int layer, const Block& block, const at::Tensor& product) {
    const SelfAttention& attention = block.self_attention();
    kernels::RotateScatter rotate;
    rotate.product = product.const_data_ptr();
    rotate.query_scale = attention.query_scale().const_data_ptr<float>();
    rotate.rotations = rotations_.const_data_ptr<float>();
    rotate.current = tables_.current(layer);
    rotate.queries = attention_->queries().mutable_data_ptr();
    rotate.queries_by_token = attention_->queries_by_token();
    rotate.keys = keys_.mutable_data_ptr();
    rotate.values = values_.mutable_data_ptr();
    rotate.rows = static_cast<int>(rows_);
    rotate.tokens = static_cast<int>(tokens_);
    rotate.heads = static_cast<int>(heads_);
    rotate.head_width = static_cast<int>(head_width_);
    rotate.prefixes = Copy(tables_.prefixes(layer));
    kernels::Launch(rotate, CurrentStream());
    return attention_->Attend(layer);
  }

  // What of the layer is to be stored between its Attend and the next one's:
  // not before, because all prefixes of a layer are read before any of its
  // survivors is written (cache/step_plan.h), and not later, because the next
  // layer's keys and values take the place of this one's.
  kernels::SpanCopy Stores(int layer) { return Copy(tables_.stores(layer)); }

 private:
  kernels::SpanCopy Copy(kernels::SpanCopy copy) {
    copy.arena = arena_.mutable_blocks().mutable_data_ptr();
    copy.keys = keys_.mutable_data_ptr();
    copy.values = values_.mutable_data_ptr();
    copy.block_tokens = cache::kBlockTokens;
    copy.head_width = static_cast<int>(head_width_);
    return copy;
  }

  const StepTables& tables_;
  std::int64_t heads_;
  std::int64_t head_width_;
  std::int64_t rows_;
  std::int64_t tokens_;
  at::Tensor rotations_;
  KeyValueArena& arena_;
  at::Tensor keys_;
  at::Tensor values_;
  std::unique_ptr<StagedAttention> attention_;
};

// queries bf16 [rows * tokens, width] -> the same.
at::Tensor AttendToTexts(int layer, const TransformerSpec& spec,
                         std::int64_t rows, const kernels::RowText* texts,
                         const at::Tensor& queries) {
  at::Tensor out =
      EmptyRows(queries.size(0), queries.size(1), queries.options());
  kernels::CrossAttention work;
  work.queries = queries.const_data_ptr();
  work.out = out.mutable_data_ptr();
  work.texts = texts;
  work.layer = layer;
  work.rows = static_cast<int>(rows);
  work.tokens = static_cast<int>(queries.size(0) / rows);
  work.heads = spec.heads;
  work.head_width = spec.head_width();
  work.scale = 1 / std::sqrt(static_cast<float>(spec.head_width()));
  kernels::Launch(work, CurrentStream());
  return out;
}

}  // namespace

at::Tensor GroupInput(const InfinityTransformer& transformer, int scale,
                      at::Tensor codes, int branches) {
  const at::Tensor level = transformer.level_embedding()[scale];
  if (scale == 0) return codes.add_(level);
  const Linear& embedding = transformer.word_embedding();
  HEATKV_CHECK(codes.is_contiguous() && embedding.weight.is_contiguous());
  HEATKV_CHECK(codes.scalar_type() == at::kFloat &&
               embedding.weight.scalar_type() == at::kFloat);
  at::Tensor x = at::empty(
      {codes.size(0) * branches, codes.size(1), embedding.weight.size(0)},
      codes.options());
  kernels::EmbedCodes work;
  work.codes = codes.const_data_ptr<float>();
  work.weight = embedding.weight.const_data_ptr<float>();
  work.bias = embedding.bias.const_data_ptr<float>();
  work.level = level.const_data_ptr<float>();
  work.out = x.mutable_data_ptr<float>();
  work.slots = static_cast<int>(codes.size(0));
  work.branches = branches;
  work.tokens = static_cast<int>(codes.size(1));
  work.bits = static_cast<int>(codes.size(2));
  work.width = static_cast<int>(x.size(2));
  kernels::Launch(work, CurrentStream());
  return x;
}

at::Tensor GroupLogits(const InfinityTransformer& transformer, at::Tensor x,
                       const GroupModulations& modulations,
                       const at::Tensor& rotations, const StepTables& tables,
                       std::int64_t staging_rows, std::int64_t most_keys,
                       AttentionChoice attention, LayerProducts products,
                       std::int64_t head_rows, KeyValueArena& arena) {
  const TransformerSpec& spec = transformer.spec();
  const std::int64_t rows = x.size(0);
  const std::int64_t tokens = x.size(1);
  HEATKV_CHECK(x.scalar_type() == at::kFloat && x.is_contiguous());
  HEATKV_CHECK(arena.mutable_blocks().scalar_type() == at::kBFloat16);
  HEATKV_CHECK_EQ(modulations.block.size(0), rows);
  HEATKV_CHECK_GE(head_rows, rows);
  Staging staging(tables, spec, rows, tokens, rotations, staging_rows,
                  most_keys, attention, arena);
  Stream stream(std::move(x), modulations);

  const std::vector<Block>& blocks = transformer.blocks();
  for (int layer = 0; layer < static_cast<int>(blocks.size()); ++layer) {
    const Block& block = blocks[layer];
    // One tensor from a norm to the residual stream: what it was before goes as
    // soon as it has been read, for a step's memory is that of its widest
    // moment.
    at::Tensor y = stream.Norm(block, kScale1, kShift1);
    const SelfAttention& self = block.self_attention();
    y = Multiply(products, self.queries_keys_values(), y);
    y = staging.Attend(layer, block, y);
    stream.Add(Multiply(products, self.projection(), y), block, kGamma1);

    y = stream.CrossNorm(block, staging.Stores(layer));
    const CrossAttention& cross = block.cross_attention();
    y = Multiply(products, cross.query(), y);
    y = AttendToTexts(layer, spec, rows, tables.texts(), y);
    stream.Add(Multiply(products, cross.projection(), y));

    y = stream.Norm(block, kScale2, kShift2);
    const FeedForward& feed_forward = block.feed_forward();
    y = MultiplyGelu(products, feed_forward.widen(), y);
    stream.Add(Multiply(products, feed_forward.narrow(), y), block, kGamma2);
  }
  return transformer.head()(stream.HeadNorm(head_rows))
      .narrow(0, 0, rows * tokens)
      .view({rows, tokens, 2 * spec.bits_per_token()});
}

}  // namespace heatkv::model
