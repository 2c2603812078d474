// Both kernels for self-attention against float64, on fresh random inputs of
// ragged shapes: sequences of all lengths, memory full of NaN wherever nobody
// has written, alone and in company, launched and recorded.

#include "model/cuda/staged_attention.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "model/cuda/kernel_calls.h"
#include "model/kernels/hopper_attention.h"
#include "tests/cache/random_case.h"
#include "tests/model/cuda/attention_dealing.h"

namespace heatkv::model {
namespace {

constexpr int kHeadWidth = 128;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

bool HasHopper() {
  return CudaDevices() > 0 && kernels::CanRunHopperAttention(kHeadWidth);
}

at::TensorOptions OnGpu(at::ScalarType dtype) {
  return at::TensorOptions(dtype).device(at::Device(at::kCUDA, 0));
}

// A step's tables with nothing in them but where sequences begin.
struct Case {
  Case(int rows, int heads, int tokens, int layers)
      : shape{.capacity = rows,
              .branches = 1,
              .layers = layers,
              .heads = heads,
              .tokens = tokens},
        layout(shape),
        values(layout.spans(), 0) {
    for (int i = 0; i <= layout.sequences(); ++i) {
      values[layout.query_begin() + i] = i * tokens;
    }
  }

  // Sequences of random lengths.
  void Draw(int least_keys, int most_keys, cache::Dice& dice) {
    most = most_keys;
    for (int layer = 0; layer < shape.layers; ++layer) {
      std::int32_t row = 0;
      for (int i = 0; i < layout.sequences(); ++i) {
        values[layout.key_begin(layer) + i] = row;
        row += dice.Int(least_keys, most_keys);
      }
      values[layout.key_begin(layer) + layout.sequences()] = row;
    }
  }

  int begin(int layer, int sequence) const {
    return values[layout.key_begin(layer) + sequence];
  }
  int keys(int layer, int sequence) const {
    return begin(layer, sequence + 1) - begin(layer, sequence);
  }
  int staged(int layer) const {
    return begin(layer, static_cast<int>(layout.sequences()));
  }
  int staging_rows() const {
    int rows = 2;
    for (int layer = 0; layer < shape.layers; ++layer) {
      rows = std::max(rows, staged(layer));
    }
    return rows;
  }
  int rows() const { return shape.capacity; }
  int tokens() const { return static_cast<int>(shape.tokens); }

  GroupShape shape;
  StepTableLayout layout;
  std::vector<std::int32_t> values;
  int most = 0;
};

// What a layer attends to, bf16.
struct Inputs {
  at::Tensor queries;  // [rows, heads, tokens, head width]
  at::Tensor keys;     // [staged, head width]
  at::Tensor values;
};

// Keys of length 1; queries up to `sharpness` long, so that weights are near
// equal or not at all.
std::vector<Inputs> DrawInputs(const Case& test, double sharpness,
                               std::uint64_t seed) {
  at::manual_seed(seed);
  const auto unit = [](const at::Tensor& x) {
    return x / x.norm(2, {-1}, /*keepdim=*/true);
  };
  std::vector<Inputs> layers;
  for (int layer = 0; layer < test.shape.layers; ++layer) {
    const std::int64_t staged = test.staged(layer);
    const at::Tensor queries = unit(
        at::randn({test.rows(), test.shape.heads, test.tokens(), kHeadWidth},
                  OnGpu(at::kFloat)));
    const at::Tensor scale = at::rand(
        {test.rows(), test.shape.heads, test.tokens(), 1}, OnGpu(at::kFloat));
    layers.push_back(
        {(queries * scale * sharpness).to(at::kBFloat16),
         unit(at::randn({staged, kHeadWidth}, OnGpu(at::kFloat)))
             .to(at::kBFloat16),
         at::randn({staged, kHeadWidth}, OnGpu(at::kFloat)).to(at::kBFloat16)});
  }
  return layers;
}

// [rows * tokens, heads * head width] of one layer in float64.
at::Tensor Truth(const Case& test, int layer, const Inputs& inputs) {
  at::Tensor out =
      at::empty({test.rows(), test.tokens(), test.shape.heads, kHeadWidth},
                OnGpu(at::kDouble));
  for (int row = 0; row < test.rows(); ++row) {
    for (int head = 0; head < test.shape.heads; ++head) {
      const int sequence = row * test.shape.heads + head;
      const int begin = test.begin(layer, sequence);
      const int keys = test.keys(layer, sequence);
      const at::Tensor scores =
          at::matmul(inputs.queries[row][head].to(at::kDouble),
                     inputs.keys.narrow(0, begin, keys).to(at::kDouble).t());
      out.select(0, row).select(1, head).copy_(
          at::matmul(at::softmax(scores, -1),
                     inputs.values.narrow(0, begin, keys).to(at::kDouble)));
    }
  }
  return out.view({std::int64_t{test.rows()} * test.tokens(), -1});
}

// Largest relative error of a row of a head.
double WorstError(const at::Tensor& mine, const at::Tensor& truth) {
  const at::Tensor a = mine.to(at::kDouble).view({-1, kHeadWidth});
  const at::Tensor b = truth.view({-1, kHeadWidth});
  if (!a.isfinite().all().item<bool>()) return 1e30;
  return ((a - b).norm(2, {-1}) / b.norm(2, {-1})).max().item<double>();
}

// Staging of a step and the attention over it, as GroupLogits uses them.
struct Step {
  Step(AttentionChoice choice, const Case& test, const at::Tensor& table,
       std::int64_t staging_rows)
      : tables(test.layout, table),
        keys(at::full({staging_rows, 1, kHeadWidth}, kNaN,
                      OnGpu(at::kBFloat16))),
        values(at::full_like(keys, kNaN)),
        attention(StagedAttention::Create(choice, tables,
                                          {.rows = test.rows(),
                                           .heads = test.shape.heads,
                                           .tokens = test.tokens(),
                                           .most_keys = test.most},
                                          keys, values)) {}

  at::Tensor Attend(int layer, const Inputs& inputs) {
    at::Tensor queries = attention->queries();
    const at::Tensor ordered = attention->queries_by_token()
                                   ? inputs.queries.transpose(1, 2)
                                   : inputs.queries;
    const std::int64_t values_of_queries = inputs.queries.numel();
    queries.view({-1})
        .narrow(0, 0, values_of_queries)
        .copy_(ordered.reshape({-1}));
    keys.narrow(0, 0, inputs.keys.size(0)).copy_(inputs.keys.unsqueeze(1));
    values.narrow(0, 0, inputs.values.size(0))
        .copy_(inputs.values.unsqueeze(1));
    // What the result is written to may hold anything.
    at::full({inputs.queries.numel()}, kNaN, OnGpu(at::kBFloat16));
    return attention->Attend(layer);
  }

  StepTables tables;
  at::Tensor keys;
  at::Tensor values;
  std::unique_ptr<StagedAttention> attention;
};

std::vector<at::Tensor> RunStep(AttentionChoice choice, const Case& test,
                                const std::vector<Inputs>& inputs) {
  Step step(choice, test, Upload(test.values), test.staging_rows());
  std::vector<at::Tensor> out;
  for (int layer = 0; layer < test.shape.layers; ++layer) {
    out.push_back(step.Attend(layer, inputs[layer]).clone());
  }
  return out;
}

class StagedAttentionTest : public testing::TestWithParam<AttentionChoice> {
 protected:
  void SetUp() override {
    if (CudaDevices() == 0) GTEST_SKIP() << "no CUDA device";
    if (GetParam() == AttentionChoice::kHopper && !HasHopper()) {
      GTEST_SKIP() << "no Hopper GPU, or not built for one";
    }
  }
  const c10::InferenceMode inference_mode_;
};

TEST_P(StagedAttentionTest, ResultsAreThoseOfFloat64) {
  struct {
    int rows, heads, tokens, least_keys, most_keys;
  } const cases[] = {
      {1, 1, 1, 1, 1},           {1, 16, 1, 1, 3},
      {2, 16, 1, 1, 200},        {2, 16, 4, 4, 500},
      {3, 5, 36, 36, 193},       {2, 3, 127, 1, 700},
      {2, 16, 128, 128, 384},    {1, 7, 129, 129, 3000},
      {2, 16, 400, 400, 1100},   {8, 16, 64, 64, 190},
      {2, 16, 577, 577, 2500},   {2, 16, 1600, 1600, 4200},
      {2, 4, 4096, 4096, 10521},
  };
  cache::Dice dice(31);
  std::uint64_t seed = 100;
  for (const auto& c : cases) {
    for (const double sharpness : {1.0, 60.0}) {
      Case test(c.rows, c.heads, c.tokens, /*layers=*/3);
      test.Draw(c.least_keys, c.most_keys, dice);
      const std::vector<Inputs> inputs = DrawInputs(test, sharpness, ++seed);
      const std::vector<at::Tensor> out = RunStep(GetParam(), test, inputs);
      double worst = 0;
      for (int layer = 0; layer < test.shape.layers; ++layer) {
        ASSERT_EQ(out[layer].sizes(), (std::vector<std::int64_t>{
                                          std::int64_t{c.rows} * c.tokens,
                                          std::int64_t{c.heads} * kHeadWidth}));
        worst = std::max(
            worst, WorstError(out[layer], Truth(test, layer, inputs[layer])));
      }
      std::printf(
          "%d rows, %d heads, %d tokens, %d to %d keys, sharpness %g: worst "
          "relative error of a row %.2e\n",
          c.rows, c.heads, c.tokens, c.least_keys, c.most_keys, sharpness,
          worst);
      EXPECT_LT(worst, 2e-2);
    }
  }
}

TEST_P(StagedAttentionTest, SequencesDoNotDependOnTheirCompany) {
  cache::Dice dice(32);
  for (const int tokens : {1, 36, 130, 600}) {
    Case together(/*rows=*/5, /*heads=*/6, tokens, /*layers=*/2);
    together.Draw(tokens, 4 * tokens + 300, dice);
    const std::vector<Inputs> inputs = DrawInputs(together, 30, 7);
    const std::vector<at::Tensor> out = RunStep(GetParam(), together, inputs);
    for (int row = 0; row < together.rows(); ++row) {
      Case alone(/*rows=*/1, /*heads=*/6, tokens, /*layers=*/2);
      alone.most = together.most;
      std::vector<Inputs> part;
      for (int layer = 0; layer < 2; ++layer) {
        const int first = together.begin(layer, row * 6);
        for (int head = 0; head <= 6; ++head) {
          alone.values[alone.layout.key_begin(layer) + head] =
              together.begin(layer, row * 6 + head) - first;
        }
        const int staged = alone.staged(layer);
        part.push_back({inputs[layer].queries.narrow(0, row, 1),
                        inputs[layer].keys.narrow(0, first, staged),
                        inputs[layer].values.narrow(0, first, staged)});
      }
      const std::vector<at::Tensor> mine = RunStep(GetParam(), alone, part);
      for (int layer = 0; layer < 2; ++layer) {
        EXPECT_TRUE(
            at::equal(mine[layer],
                      out[layer].narrow(0, std::int64_t{row} * tokens, tokens)))
            << tokens << " tokens, row " << row << ", layer " << layer;
      }
    }
  }
}

TEST_P(StagedAttentionTest, RecordedStepServesOtherSequences) {
  cache::Dice dice(33);
  const int tokens = 150;
  Case test(/*rows=*/2, /*heads=*/16, tokens, /*layers=*/2);
  test.Draw(tokens, 900, dice);
  const std::int64_t staging_rows = test.layout.sequences() * 900;
  at::Tensor table = Upload(test.values);
  // The recorded step copies its inputs from here.
  std::vector<Inputs> places;
  for (int layer = 0; layer < 2; ++layer) {
    places.push_back(
        {at::empty({2, 16, tokens, kHeadWidth}, OnGpu(at::kBFloat16)),
         at::empty({staging_rows, kHeadWidth}, OnGpu(at::kBFloat16)),
         at::empty({staging_rows, kHeadWidth}, OnGpu(at::kBFloat16))});
    places.back().queries.zero_();
    places.back().keys.zero_();
    places.back().values.zero_();
  }
  const auto body = [&] {
    Step step(GetParam(), test, table, staging_rows);
    std::vector<at::Tensor> out;
    for (int layer = 0; layer < 2; ++layer) {
      out.push_back(step.Attend(layer, places[layer]));
    }
    return out;
  };
  c10::cuda::device_synchronize();
  const c10::cuda::CUDAStream stream = c10::cuda::getStreamFromPool();
  at::cuda::CUDAGraph graph;
  std::vector<at::Tensor> out;
  {
    const c10::cuda::CUDAStreamGuard guard(stream);
    body();
    stream.synchronize();
    graph.capture_begin(at::cuda::graph_pool_handle(),
                        cudaStreamCaptureModeThreadLocal);
    out = body();
    graph.capture_end();
    stream.synchronize();
  }
  for (int round = 0; round < 4; ++round) {
    test.Draw(round == 2 ? 1 : tokens, 900, dice);
    table.copy_(Upload(test.values));
    const std::vector<Inputs> inputs = DrawInputs(test, 20, 50 + round);
    for (int layer = 0; layer < 2; ++layer) {
      const std::int64_t staged = test.staged(layer);
      places[layer].queries.copy_(inputs[layer].queries);
      places[layer].keys.narrow(0, 0, staged).copy_(inputs[layer].keys);
      places[layer].values.narrow(0, 0, staged).copy_(inputs[layer].values);
      out[layer].fill_(kNaN);
    }
    graph.replay();
    const std::vector<at::Tensor> expected = RunStep(GetParam(), test, inputs);
    for (int layer = 0; layer < 2; ++layer) {
      EXPECT_TRUE(at::equal(out[layer], expected[layer]))
          << "round " << round << ", layer " << layer;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kernels, StagedAttentionTest,
    testing::Values(AttentionChoice::kFlashAttention2, AttentionChoice::kHopper,
                    AttentionChoice::kShort),
    [](const testing::TestParamInfo<AttentionChoice>& choice) {
      return AbslUnparseFlag(choice.param);
    });

// The Hopper kernel alone, into memory full of NaN.
TEST(HopperAttentionTest, EveryElementIsWrittenAndNothingElse) {
  if (!HasHopper()) GTEST_SKIP() << "no Hopper GPU, or not built for one";
  const c10::InferenceMode inference_mode;
  cache::Dice dice(34);
  for (const int tokens : {1, 5, 128, 200, 385}) {
    Case test(/*rows=*/3, /*heads=*/4, tokens, /*layers=*/1);
    test.Draw(tokens, tokens + 500, dice);
    const Inputs inputs = DrawInputs(test, 10, 60)[0];
    const std::vector<at::Tensor> expected =
        RunStep(AttentionChoice::kHopper, test, {inputs});
    const kernels::AttentionShape shape{.rows = 3,
                                        .heads = 4,
                                        .tokens = tokens,
                                        .blocks = kernels::HopperBlocks()};
    const at::Tensor list =
        Upload(DealAttention(shape, std::span(test.values)
                                        .subspan(test.layout.key_begin(0),
                                                 test.layout.sequences() + 1)));
    const at::Tensor queries = inputs.queries.transpose(1, 2).contiguous();
    const std::int64_t rows = std::int64_t{3} * tokens;
    at::Tensor out =
        at::full({rows + 300, 4 * kHeadWidth}, kNaN, OnGpu(at::kBFloat16));
    kernels::HopperAttention work;
    work.queries = queries.const_data_ptr();
    work.keys = inputs.keys.const_data_ptr();
    work.values = inputs.values.const_data_ptr();
    work.out = out.mutable_data_ptr();
    work.work = list.const_data_ptr<int>();
    work.shape = shape;
    work.staging_rows = inputs.keys.size(0);
    work.scale = 1;
    kernels::Launch(work, CurrentStream());
    EXPECT_TRUE(at::equal(out.narrow(0, 0, rows), expected[0]));
    EXPECT_TRUE(out.narrow(0, rows, 300).isnan().all().item<bool>());
  }
}

}  // namespace
}  // namespace heatkv::model
