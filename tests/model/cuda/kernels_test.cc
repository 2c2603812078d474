// Kernels against float64 or against torch's operators on the CPU, on fresh
// random inputs of shapes that no block size divides.

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "model/cuda/kernel_calls.h"
#include "model/infinity/rope2d.h"
#include "model/kernels/residual_norm.h"
#include "model/kernels/rotate_scatter.h"
#include "model/kernels/span_copy.h"

namespace heatkv::model {
namespace {

double RelativeError(const at::Tensor& mine, const at::Tensor& truth) {
  const at::Tensor a = mine.cpu().to(at::kDouble);
  const at::Tensor b = truth.cpu().to(at::kDouble);
  if (!a.isfinite().all().item<bool>()) return 1e30;
  return ((a - b).norm() / b.norm()).item<double>();
}

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

class KernelsTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (CudaDevices() == 0) GTEST_SKIP() << "no CUDA device";
  }
  at::Tensor Random(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
    return at::randn(shape, generator_, at::TensorOptions(at::kFloat))
        .to(dtype)
        .to(at::kCUDA);
  }
  static at::Tensor Double(const at::Tensor& x) {
    return x.cpu().to(at::kDouble);
  }
  at::Generator generator_ = at::detail::createCPUGenerator(91);
};

TEST_P(KernelsTest, ResidualNormAddsNormalisesAndModulates) {
  const int width = GetParam();
  const int rows = 3;
  // A token a block, and many.
  for (const int tokens : {37, 1501}) {
    at::Tensor x = Random({rows, tokens, width});
    const at::Tensor before = Double(x);
    const at::Tensor added = Random({rows, tokens, width}, at::kBFloat16);
    const at::Tensor layer = Random({3, width});
    const at::Tensor text = Random({rows, 3, width});
    at::Tensor out = at::full({rows, tokens, width}, NAN, added.options());
    const auto part = [&](int i) {
      return kernels::RowVector{
          .layer = layer.const_data_ptr<float>() + i * width,
          .rows = text.const_data_ptr<float>() + i * width,
          .row_stride = 3 * width};
    };
    kernels::ResidualNorm work;
    work.x = x.mutable_data_ptr<float>();
    work.added = added.const_data_ptr();
    work.gated = true;
    work.gate = part(0);
    work.offset = 1;
    work.scale = part(1);
    work.shift = part(2);
    work.epsilon = 1e-6f;
    work.out_bf16 = out.mutable_data_ptr();
    work.rows = rows;
    work.tokens = tokens;
    work.width = width;
    kernels::Launch(work, CurrentStream());
    const at::Tensor m =
        (Double(layer).unsqueeze(0) + Double(text)).unsqueeze(1);
    const at::Tensor sum = before + m.select(2, 0) * Double(added);
    const at::Tensor normed = at::layer_norm(sum, {width}, {}, {}, 1e-6);
    EXPECT_LT(RelativeError(x, sum), 1e-6);
    EXPECT_LT(
        RelativeError(out, normed * (1 + m.select(2, 1)) + m.select(2, 2)),
        3e-3);

    // Without a branch, into float32.
    at::Tensor wide = at::full({rows, tokens, width}, NAN, x.options());
    work.added = nullptr;
    work.out_bf16 = nullptr;
    work.out_float = wide.mutable_data_ptr<float>();
    kernels::Launch(work, CurrentStream());
    EXPECT_LT(RelativeError(x, sum), 1e-6);
    EXPECT_LT(
        RelativeError(wide, normed * (1 + m.select(2, 1)) + m.select(2, 2)),
        2e-6);
  }
}

TEST_P(KernelsTest, ResidualNormStoresKeysAndValuesMeanwhile) {
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
TEST_P(KernelsTest, KernelsSeeWhatTheOnesInFrontOfThemWrote) {
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

INSTANTIATE_TEST_SUITE_P(Widths, KernelsTest,
                         testing::Values(64, 320, 2048, 3584));

using HeadWidthTest = KernelsTest;

TEST_P(HeadWidthTest, RotateScatterNormalisesTurnsAndStages) {
  const int head_width = GetParam();
  const int rows = 2;
  const int heads = 5;
  const cache::Grid grid{3, 7};
  const int tokens = static_cast<int>(grid.tokens());
  const at::Tensor product =
      Random({rows, tokens, 3, heads, head_width}, at::kBFloat16);
  const at::Tensor scale = Random({heads}).abs() + 1;
  const at::Tensor rotations =
      RopeRotations(grid, {9, 14}, head_width, at::kCPU);
  const at::Tensor turns =
      at::view_as_real(rotations).contiguous().to(at::kCUDA);
  std::vector<std::int32_t> current;
  for (int i = 0; i < rows * heads; ++i)
    current.push_back(i * (tokens + i) + 2);
  const at::Tensor uploaded = Upload(current);
  const auto options = product.options();
  at::Tensor queries =
      at::full({rows, heads, tokens, head_width}, NAN, options);
  at::Tensor keys =
      at::full({current.back() + tokens + 3, head_width}, 7.0, options);
  at::Tensor values = keys.clone();
  kernels::RotateScatter work;
  work.product = product.const_data_ptr();
  work.query_scale = scale.const_data_ptr<float>();
  work.rotations = turns.const_data_ptr<float>();
  work.current = uploaded.const_data_ptr<int>();
  work.queries = queries.mutable_data_ptr();
  work.keys = keys.mutable_data_ptr();
  work.values = values.mutable_data_ptr();
  work.rows = rows;
  work.tokens = tokens;
  work.heads = heads;
  work.head_width = head_width;
  kernels::Launch(work, CurrentStream());

  const at::Tensor all = product.cpu().to(at::kFloat).permute({2, 0, 3, 1, 4});
  const auto unit = [](const at::Tensor& x) {
    return x / x.norm(2, {-1}, /*keepdim=*/true).clamp_min(1e-12);
  };
  const at::Tensor q =
      Rotate(unit(all[0]) * scale.cpu().view({1, heads, 1, 1}), rotations);
  const at::Tensor k = Rotate(unit(all[1]), rotations);
  EXPECT_LT(RelativeError(queries, q), 3e-3);
  for (int row = 0; row < rows; ++row) {
    for (int head = 0; head < heads; ++head) {
      const int first = current[row * heads + head];
      EXPECT_LT(RelativeError(keys.narrow(0, first, tokens), k[row][head]),
                3e-3);
      EXPECT_EQ(
          RelativeError(values.narrow(0, first, tokens), all[2][row][head]), 0);
      // What lies before the current scale was left alone.
      EXPECT_TRUE(keys[first - 1].eq(7).all().item<bool>());
    }
  }
}

TEST_P(HeadWidthTest, RotateScatterFetchesPrefixesMeanwhile) {
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

TEST_P(HeadWidthTest, RotateScatterOrdersQueriesByTokenAndStagesFiniteValues) {
  const int head_width = GetParam();
  const int rows = 2;
  const int tokens = 13;
  const int heads = 3;
  at::Tensor product =
      Random({rows, tokens, 3, heads, head_width}, at::kBFloat16);
  const at::Tensor scale = Random({heads}).abs() + 1;
  const at::Tensor rotations = Random({tokens, head_width / 2, 2});
  std::vector<std::int32_t> current;
  for (int i = 0; i < rows * heads; ++i) current.push_back(i * tokens);
  const at::Tensor uploaded = Upload(current);
  struct Result {
    at::Tensor queries, keys, values;  // [rows, heads, tokens, head width]
  };
  const auto run = [&](bool by_token) {
    const std::vector<std::int64_t> by_head_shape = {rows, heads, tokens,
                                                     head_width};
    at::Tensor queries = by_token
                             ? at::full({rows, tokens, heads, head_width}, 7.0,
                                        product.options())
                             : at::full(by_head_shape, 7.0, product.options());
    at::Tensor keys = at::full(by_head_shape, 7.0, product.options());
    at::Tensor values = keys.clone();
    kernels::RotateScatter work;
    work.product = product.const_data_ptr();
    work.query_scale = scale.const_data_ptr<float>();
    work.rotations = rotations.const_data_ptr<float>();
    work.current = uploaded.const_data_ptr<int>();
    work.queries = queries.mutable_data_ptr();
    work.queries_by_token = by_token;
    work.keys = keys.mutable_data_ptr();
    work.values = values.mutable_data_ptr();
    work.rows = rows;
    work.tokens = tokens;
    work.heads = heads;
    work.head_width = head_width;
    kernels::Launch(work, CurrentStream());
    return Result{(by_token ? queries.transpose(1, 2) : queries).cpu(),
                  keys.cpu(), values.cpu()};
  };
  const Result whole = run(/*by_token=*/false);
  EXPECT_TRUE(whole.queries.isfinite().all().item<bool>());
  const Result by_token = run(/*by_token=*/true);
  EXPECT_TRUE(at::equal(by_token.queries, whole.queries));
  EXPECT_TRUE(at::equal(by_token.keys, whole.keys));

  // One value of one token's keys, one of another's values.
  product[0][4][1][2][head_width - 1] = INFINITY;
  product[1][9][2][0][0] = NAN;
  const Result broken = run(/*by_token=*/true);
  for (int row = 0; row < rows; ++row) {
    for (int head = 0; head < heads; ++head) {
      for (int token = 0; token < tokens; ++token) {
        const bool is_broken = (row == 0 && head == 2 && token == 4) ||
                               (row == 1 && head == 0 && token == 9);
        const at::Tensor query = broken.queries[row][head][token];
        const at::Tensor key = broken.keys[row][head][token];
        const at::Tensor value = broken.values[row][head][token];
        if (is_broken) {
          EXPECT_TRUE(query.isnan().all().item<bool>());
          EXPECT_TRUE(key.eq(0).all().item<bool>());
          EXPECT_TRUE(value.eq(0).all().item<bool>());
        } else {
          EXPECT_TRUE(at::equal(query, whole.queries[row][head][token]));
          EXPECT_TRUE(at::equal(key, whole.keys[row][head][token]));
          EXPECT_TRUE(at::equal(value, whole.values[row][head][token]));
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, HeadWidthTest,
                         testing::Values(8, 16, 32, 64, 96, 128, 256));

using ChannelsTest = KernelsTest;

TEST_P(ChannelsTest, GroupNormSwishIsThatOfFloat64) {
  const int channels = GetParam();
  const at::Tensor x =
      (Random({1, channels, 33, 19}) * 3 + 2).to(at::kBFloat16);
  const at::Tensor weight = Random({channels});
  const at::Tensor bias = Random({channels});
  const at::Tensor before = Random({channels});
  const at::Tensor mine =
      CudaGroupNormSwish(x, before, weight, bias, 32, 1e-6, /*in_place=*/false);
  const at::Tensor truth = at::silu(
      at::group_norm(Double(x) + Double(before).view({1, channels, 1, 1}), 32,
                     Double(weight), Double(bias), 1e-6));
  EXPECT_TRUE(mine.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_LT(RelativeError(mine, truth), 4e-3);
  at::Tensor again = x.contiguous(at::MemoryFormat::ChannelsLast).clone();
  CudaGroupNormSwish(again, before, weight, bias, 32, 1e-6, /*in_place=*/true);
  EXPECT_TRUE(at::equal(mine, again));

  CudaAddBias(again, before, x);
  EXPECT_LT(RelativeError(again, Double(mine) + Double(x) +
                                     Double(before).view({1, channels, 1, 1})),
            4e-3);
}

INSTANTIATE_TEST_SUITE_P(Channels, ChannelsTest,
                         testing::Values(32, 64, 128, 256, 512));

}  // namespace
}  // namespace heatkv::model
