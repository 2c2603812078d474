// What rides along with other kernels, and kernels that start before the one in
// front of them has ended: each must leave the other alone.

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "model/cuda/kernel_calls.h"
#include "model/kernels/residual_norm.h"
#include "model/kernels/rotate_scatter.h"
#include "model/kernels/span_copy.h"
#include "tests/model/cuda/kernel_inputs.h"

namespace heatkv::model {
namespace {

constexpr int kBlockTokens = 16;

// Spans between the blocks of an arena and neighbouring rows of staging, of
// various lengths, and the table that lists them.
class Spans {
 public:
  // One for each block, from row `staging_row` on.
  Spans(int blocks, int staging_row) {
    std::vector<std::int32_t> table = {2, blocks};
    for (int block = 0; block < blocks; ++block) {
      const int first = block * 5 % kBlockTokens;
      const int tokens = 1 + block * 7 % (kBlockTokens - first);
      spans_.push_back({.key_slot = block * 2 * kBlockTokens + first,
                        .staging_row = staging_row,
                        .tokens = tokens});
      table.insert(table.end(), {spans_.back().key_slot, staging_row, tokens});
      staging_row += tokens;
    }
    end_ = staging_row;
    table_ = Upload(table);
  }

  // The row behind the last.
  int end() const { return end_; }

  // A copy that expects `most` of them.
  kernels::SpanCopy Copy(int most, const at::Tensor& arena,
                         const at::Tensor& keys,
                         const at::Tensor& values) const {
    const int* const table = table_.const_data_ptr<int>();
    return {.table = table,
            .list = reinterpret_cast<const kernels::SpanList*>(table),
            .most_spans = most,
            .arena = arena.mutable_data_ptr(),
            .keys = keys.mutable_data_ptr(),
            .values = values.mutable_data_ptr(),
            .block_tokens = kBlockTokens,
            .head_width = static_cast<int>(keys.size(-1))};
  }

  // The same with tensors of the CPU, arena [blocks, 2, tokens, width], ...
  void ToStaging(const at::Tensor& arena, at::Tensor keys,
                 at::Tensor values) const {
    const at::Tensor slots = arena.view({-1, arena.size(3)});
    for (const kernels::CopySpan& span : spans_) {
      keys.narrow(0, span.staging_row, span.tokens)
          .copy_(slots.narrow(0, span.key_slot, span.tokens));
      values.narrow(0, span.staging_row, span.tokens)
          .copy_(slots.narrow(0, span.key_slot + kBlockTokens, span.tokens));
    }
  }
  // ... and back.
  void ToArena(const at::Tensor& keys, const at::Tensor& values,
               at::Tensor arena) const {
    at::Tensor slots = arena.view({-1, arena.size(3)});
    for (const kernels::CopySpan& span : spans_) {
      slots.narrow(0, span.key_slot, span.tokens)
          .copy_(keys.narrow(0, span.staging_row, span.tokens));
      slots.narrow(0, span.key_slot + kBlockTokens, span.tokens)
          .copy_(values.narrow(0, span.staging_row, span.tokens));
    }
  }

 private:
  std::vector<kernels::CopySpan> spans_;
  at::Tensor table_;
  int end_ = 0;
};

using NormWidthTest = KernelsTest;

TEST_P(NormWidthTest, ResidualNormStoresKeysAndValuesMeanwhile) {
  const int width = GetParam();
  const int rows = 2;
  const int tokens = 300;
  const int blocks = 1500;
  const Spans spans(blocks, /*staging_row=*/3);
  const Spans none(0, 0);
  const at::Tensor keys = Random({spans.end() + 5, 32}, at::kBFloat16);
  const at::Tensor values = Random({spans.end() + 5, 32}, at::kBFloat16);
  const at::Tensor poison =
      at::full({blocks, 2, kBlockTokens, 32}, 7.0, keys.options());
  at::Tensor stored = poison.cpu();
  spans.ToArena(keys.cpu(), values.cpu(), stored);
  const at::Tensor before = Random({rows, tokens, width});
  const at::Tensor added = Random({rows, tokens, width}, at::kBFloat16);
  const at::Tensor weight = Random({width});
  for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat}) {
    at::Tensor expected;
    const auto run = [&](const kernels::SpanCopy& stores) {
      at::Tensor x = before.clone();
      at::Tensor out =
          at::full({rows, tokens, width}, NAN, x.options().dtype(dtype));
      kernels::ResidualNorm work;
      work.x = x.mutable_data_ptr<float>();
      work.added = added.const_data_ptr();
      work.scale = {.layer = weight.const_data_ptr<float>()};
      work.epsilon = 1e-6f;
      if (dtype == at::kBFloat16) {
        work.out_bf16 = out.mutable_data_ptr();
      } else {
        work.out_float = out.mutable_data_ptr<float>();
      }
      work.rows = rows;
      work.tokens = tokens;
      work.width = width;
      work.stores = stores;
      kernels::Launch(work, CurrentStream());
      if (!expected.defined()) expected = out;
      EXPECT_TRUE(at::equal(out, expected));
    };
    run({});
    EXPECT_TRUE(expected.isfinite().all().item<bool>());
    // Lists longer than the number of blocks, as long, shorter and empty.
    for (const int most : {1, 100, blocks, 4000}) {
      const at::Tensor arena = poison.clone();
      run(spans.Copy(most, arena, keys, values));
      EXPECT_TRUE(at::equal(arena.cpu(), stored)) << most;
    }
    const at::Tensor arena = poison.clone();
    run(none.Copy(9, arena, keys, values));
    EXPECT_TRUE(at::equal(arena, poison));
  }
}

// A kernel may start before the one in front of it has ended, and must wait for
// it all the same, recorded or not.
TEST_P(NormWidthTest, KernelsSeeWhatTheOnesInFrontOfThemWrote) {
  const int width = GetParam();
  const int rows = 2;
  const int tokens = 700;
  const at::Tensor before = Random({rows, tokens, width});
  const at::Tensor weight = Random({width});
  at::Tensor out =
      at::empty({rows, tokens, width}, before.options().dtype(at::kBFloat16));
  at::Tensor x = before.clone();
  // Each adds what the last one left, and overwrites it.
  const auto launch = [&](bool apart) {
    for (int i = 0; i < 40; ++i) {
      kernels::ResidualNorm work;
      work.x = x.mutable_data_ptr<float>();
      work.added = out.const_data_ptr();
      work.scale = {.layer = weight.const_data_ptr<float>()};
      work.epsilon = 1e-6f;
      work.out_bf16 = out.mutable_data_ptr();
      work.rows = rows;
      work.tokens = tokens;
      work.width = width;
      kernels::Launch(work, CurrentStream());
      if (apart) c10::cuda::device_synchronize();
    }
  };
  const auto reset = [&] {
    x.copy_(before);
    out.zero_();
  };
  reset();
  launch(/*apart=*/true);
  const at::Tensor expected = x.clone();
  EXPECT_TRUE(expected.isfinite().all().item<bool>());

  reset();
  launch(/*apart=*/false);
  EXPECT_TRUE(at::equal(x, expected));

  reset();
  c10::cuda::device_synchronize();
  const c10::cuda::CUDAStream stream = c10::cuda::getStreamFromPool();
  const c10::cuda::CUDAStreamGuard guard(stream);
  at::cuda::CUDAGraph graph;
  graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
  launch(/*apart=*/false);
  graph.capture_end();
  for (int replay = 0; replay < 3; ++replay) {
    reset();
    graph.replay();
    EXPECT_TRUE(at::equal(x, expected)) << replay;
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, NormWidthTest,
                         testing::Values(64, 2048, 3584));

using CopiedWidthTest = KernelsTest;

TEST_P(CopiedWidthTest, RotateScatterFetchesPrefixesMeanwhile) {
  const int head_width = GetParam();
  const int rows = 3;
  const int tokens = 50;
  const int heads = 3;
  const int blocks = 1500;
  const Spans spans(blocks, /*staging_row=*/3);
  const Spans none(0, 0);
  const at::Tensor arena =
      Random({blocks, 2, kBlockTokens, head_width}, at::kBFloat16);
  const at::Tensor product =
      Random({rows, tokens, 3, heads, head_width}, at::kBFloat16);
  const at::Tensor scale = Random({heads}).abs() + 1;
  const at::Tensor rotations = Random({tokens, head_width / 2, 2});
  std::vector<std::int32_t> current;
  for (int i = 0; i < rows * heads; ++i) {
    current.push_back(spans.end() + i * (tokens + 1));
  }
  const at::Tensor uploaded = Upload(current);
  struct Result {
    at::Tensor queries, keys, values;
  };
  const auto run = [&](const Spans& list, int most) {
    Result result;
    result.queries =
        at::full({rows, heads, tokens, head_width}, NAN, product.options());
    result.keys = at::full({current.back() + tokens + 3, head_width}, 7.0,
                           product.options());
    result.values = result.keys.clone();
    kernels::RotateScatter work;
    work.product = product.const_data_ptr();
    work.query_scale = scale.const_data_ptr<float>();
    work.rotations = rotations.const_data_ptr<float>();
    work.current = uploaded.const_data_ptr<int>();
    work.queries = result.queries.mutable_data_ptr();
    work.keys = result.keys.mutable_data_ptr();
    work.values = result.values.mutable_data_ptr();
    work.rows = rows;
    work.tokens = tokens;
    work.heads = heads;
    work.head_width = head_width;
    if (most > 0) {
      work.prefixes = list.Copy(most, arena, result.keys, result.values);
    }
    kernels::Launch(work, CurrentStream());
    return result;
  };
  const Result without = run(none, 0);
  EXPECT_TRUE(without.queries.isfinite().all().item<bool>());
  EXPECT_TRUE(without.keys.narrow(0, 0, spans.end()).eq(7).all().item<bool>());
  const at::Tensor keys = without.keys.cpu();
  const at::Tensor values = without.values.cpu();
  spans.ToStaging(arena.cpu(), keys, values);
  // Lists longer than the number of blocks, as long, shorter and empty.
  for (const int most : {1, 100, blocks, 4000}) {
    const Result result = run(spans, most);
    EXPECT_TRUE(at::equal(result.queries, without.queries)) << most;
    EXPECT_TRUE(at::equal(result.keys.cpu(), keys)) << most;
    EXPECT_TRUE(at::equal(result.values.cpu(), values)) << most;
  }
  const Result empty = run(none, 9);
  EXPECT_TRUE(at::equal(empty.queries, without.queries));
  EXPECT_TRUE(at::equal(empty.keys, without.keys));
  EXPECT_TRUE(at::equal(empty.values, without.values));
}

INSTANTIATE_TEST_SUITE_P(Widths, CopiedWidthTest,
                         testing::Values(8, 32, 96, 128, 256));

}  // namespace
}  // namespace heatkv::model
