#include "model/cuda/staged_attention.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/cuda/kernel_calls.h"
#include "model/cuda/layer_products.h"
#include "model/kernels/deal_attention.h"
#include "model/kernels/hopper_attention.h"
#include "model/kernels/short_attention.h"

namespace heatkv::model {
namespace {

// Keys of a sequence up to which kShort is the fastest.
constexpr std::int64_t kFewKeys = 128;

class FlashAttention2 final : public StagedAttention {
 public:
  FlashAttention2(const StepTables& tables, const Shape& shape,
                  const at::Tensor& keys, const at::Tensor& values)
      : StagedAttention(at::empty(
            {shape.rows * shape.heads * shape.tokens, 1, keys.size(2)},
            keys.options())),
        tables_(tables),
        shape_(shape),
        keys_(keys),
        values_(values),
        query_begin_(tables.query_begin()) {}

  bool queries_by_token() const override { return false; }

  at::Tensor Attend(int layer) override {
    const at::Tensor attended = VarlenAttention(
        queries(), keys_, values_, query_begin_, tables_.key_begin(layer),
        shape_.tokens, shape_.most_keys, /*scale=*/1.0);
    return attended.view({shape_.rows, shape_.heads, shape_.tokens, -1})
        .transpose(1, 2)
        .reshape({shape_.rows * shape_.tokens, -1});
  }

 private:
  const StepTables& tables_;
  const Shape shape_;
  const at::Tensor keys_;
  const at::Tensor values_;
  const at::Tensor query_begin_;
};

class Hopper final : public StagedAttention {
 public:
  Hopper(const StepTables& tables, const Shape& shape, const at::Tensor& keys,
         const at::Tensor& values)
      : StagedAttention(
            at::empty({std::max<std::int64_t>(2, shape.rows * shape.tokens),
                       shape.heads, keys.size(2)},
                      keys.options())) {
    work_.keys = keys.const_data_ptr();
    work_.values = values.const_data_ptr();
    work_.staging_rows = keys.size(0);
    work_.shape = {.rows = static_cast<int>(shape.rows),
                   .heads = static_cast<int>(shape.heads),
                   .tokens = static_cast<int>(shape.tokens),
                   .blocks = kernels::HopperBlocks()};
    lists_ = at::empty(
        {tables.layers(), kernels::AttentionWorkLayout(work_.shape).size()},
        keys.options().dtype(at::kInt));
    kernels::DealAttention deal;
    deal.key_begin = tables.key_begin(0).const_data_ptr<int>();
    deal.layer_stride = tables.layer_stride();
    deal.layers = tables.layers();
    deal.shape = work_.shape;
    deal.work = lists_.mutable_data_ptr<int>();
    deal.keys = keys.mutable_data_ptr();
    deal.values = values.mutable_data_ptr();
    deal.staging_rows = keys.size(0);
    deal.head_width = static_cast<int>(keys.size(2));
    kernels::Launch(deal, CurrentStream());
  }

  bool queries_by_token() const override { return true; }

  at::Tensor Attend(int layer) override {
    const kernels::AttentionShape& shape = work_.shape;
    at::Tensor out = at::empty({std::int64_t{shape.rows} * shape.tokens,
                                queries().size(1) * queries().size(2)},
                               queries().options());
    work_.queries = queries().const_data_ptr();
    work_.out = out.mutable_data_ptr();
    work_.work = lists_[layer].const_data_ptr<int>();
    kernels::Launch(work_, CurrentStream());
    return out;
  }

 private:
  at::Tensor lists_;
  kernels::HopperAttention work_;
};

class Short final : public StagedAttention {
 public:
  Short(const StepTables& tables, const Shape& shape, const at::Tensor& keys,
        const at::Tensor& values)
      : StagedAttention(
            at::empty({shape.rows * shape.tokens, shape.heads, keys.size(2)},
                      keys.options())),
        tables_(tables) {
    work_.queries = queries().const_data_ptr();
    work_.keys = keys.const_data_ptr();
    work_.values = values.const_data_ptr();
    work_.rows = static_cast<int>(shape.rows);
    work_.tokens = static_cast<int>(shape.tokens);
    work_.heads = static_cast<int>(shape.heads);
    work_.head_width = static_cast<int>(keys.size(2));
  }

  bool queries_by_token() const override { return true; }

  at::Tensor Attend(int layer) override {
    at::Tensor out =
        EmptyRows(queries().size(0), queries().size(1) * queries().size(2),
                  queries().options());
    work_.out = out.mutable_data_ptr();
    work_.key_begin = tables_.key_begin(layer).const_data_ptr<int>();
    kernels::Launch(work_, CurrentStream());
    return out;
  }

 private:
  const StepTables& tables_;
  kernels::ShortAttention work_;
};

}  // namespace

absl::Status CheckAttention(AttentionChoice choice, std::int64_t head_width) {
  if (choice == AttentionChoice::kHopper &&
      !kernels::CanRunHopperAttention(static_cast<int>(head_width))) {
    return absl::InvalidArgumentError(absl::StrCat(
        "attention for Hopper needs a GPU of compute capability 9.0, a program "
        "built for one and heads of width ",
        kernels::kHopperHeadWidth, "; here are heads of width ", head_width,
        " and ", kernels::DescribeCurrentDevice()));
  }
  return absl::OkStatus();
}

AttentionChoice AttentionFor(AttentionChoice choice, std::int64_t head_width,
                             std::int64_t most_keys) {
  HEATKV_CHECK_OK(CheckAttention(choice, head_width));
  if (choice != AttentionChoice::kFastest) return choice;
  if (most_keys <= kFewKeys) return AttentionChoice::kShort;
  return kernels::CanRunHopperAttention(static_cast<int>(head_width))
             ? AttentionChoice::kHopper
             : AttentionChoice::kFlashAttention2;
}

std::unique_ptr<StagedAttention> StagedAttention::Create(
    AttentionChoice choice, const StepTables& tables, const Shape& shape,
    const at::Tensor& keys, const at::Tensor& values) {
  HEATKV_CHECK(keys.is_contiguous() && values.is_contiguous());
  HEATKV_CHECK(keys.scalar_type() == at::kBFloat16);
  HEATKV_CHECK_GE(keys.size(0), 2);
  HEATKV_CHECK_EQ(tables.sequences(), shape.rows * shape.heads);
  switch (AttentionFor(choice, keys.size(2), shape.most_keys)) {
    case AttentionChoice::kShort:
      return std::make_unique<Short>(tables, shape, keys, values);
    case AttentionChoice::kHopper:
      return std::make_unique<Hopper>(tables, shape, keys, values);
    default:
      return std::make_unique<FlashAttention2>(tables, shape, keys, values);
  }
}

}  // namespace heatkv::model
