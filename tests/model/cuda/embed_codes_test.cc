// A step's input from codes, against float64 and against plain sums on the CPU.

#include "model/kernels/embed_codes.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <utility>

#include "model/cuda/kernel_calls.h"
#include "tests/model/cuda/kernel_inputs.h"

namespace heatkv::model {
namespace {

// Values before and behind the result, and what they are.
constexpr std::int64_t kGuards = 1024;
constexpr double kUntouched = 7;

struct Embedding {
  at::Tensor weight;  // [width, bits]
  at::Tensor bias;    // [width]
  at::Tensor level;   // [width]

  std::int64_t width() const { return weight.size(0); }
};

// out [slots, branches, tokens, width], codes [slots, tokens, bits].
void Launch(const Embedding& embedding, const at::Tensor& codes,
            at::Tensor out) {
  TORCH_CHECK(codes.is_contiguous() && out.is_contiguous());
  kernels::EmbedCodes work;
  work.codes = codes.const_data_ptr<float>();
  work.weight = embedding.weight.const_data_ptr<float>();
  work.bias = embedding.bias.const_data_ptr<float>();
  work.level = embedding.level.const_data_ptr<float>();
  work.out = out.mutable_data_ptr<float>();
  work.slots = static_cast<int>(codes.size(0));
  work.branches = static_cast<int>(out.size(1));
  work.tokens = static_cast<int>(codes.size(1));
  work.bits = static_cast<int>(codes.size(2));
  work.width = static_cast<int>(embedding.width());
  kernels::Launch(work, CurrentStream());
}

// Also checks that what lies around the result stays what it is.
at::Tensor Embed(const Embedding& embedding, const at::Tensor& codes,
                 std::int64_t branches) {
  const std::int64_t size =
      codes.size(0) * branches * codes.size(1) * embedding.width();
  const at::Tensor whole =
      at::full({kGuards + size + kGuards}, kUntouched, codes.options());
  const at::Tensor out =
      whole.narrow(0, kGuards, size)
          .view({codes.size(0), branches, codes.size(1), embedding.width()});
  out.fill_(NAN);
  Launch(embedding, codes, out);
  for (const std::int64_t first : {std::int64_t{0}, kGuards + size}) {
    EXPECT_TRUE(
        whole.narrow(0, first, kGuards).eq(kUntouched).all().item<bool>());
  }
  return out;
}

// Of a number of bits.
class EmbedCodesTest : public KernelsTest {
 protected:
  int bits() const { return GetParam(); }
  at::Tensor Codes(std::int64_t slots, std::int64_t tokens) {
    return Random({slots, tokens, bits()});
  }
  Embedding MakeEmbedding(std::int64_t width) {
    return {Random({width, bits()}), Random({width}), Random({width})};
  }
};

TEST_P(EmbedCodesTest, ResultsAreThoseOfFloat64) {
  struct Shape {
    std::int64_t slots, tokens, branches, width;
  };
  // From a block for every few columns to many tokens a block.
  for (const Shape& shape :
       {Shape{1, 1, 2, 2048}, Shape{16, 1, 2, 2048}, Shape{1, 16, 2, 2048},
        Shape{5, 1, 1, 8}, Shape{2, 63, 2, 8}, Shape{3, 37, 1, 200},
        Shape{1, 145, 1, 2048}, Shape{2, 145, 2, 2048}, Shape{1, 65, 2, 3584},
        Shape{1, 601, 2, 2048}, Shape{5, 1801, 1, 8}, Shape{4, 1031, 2, 200},
        Shape{2, 321, 2, 1036}}) {
    const Embedding embedding = MakeEmbedding(shape.width);
    const at::Tensor codes = Codes(shape.slots, shape.tokens);
    const at::Tensor truth = at::linear(Double(codes), Double(embedding.weight),
                                        Double(embedding.bias)) +
                             Double(embedding.level);
    EXPECT_LT(
        RelativeError(Embed(embedding, codes, shape.branches),
                      truth.unsqueeze(1).expand(
                          {-1, shape.branches, shape.tokens, shape.width})),
        1e-6)
        << shape.slots << " slots, " << shape.tokens << " tokens, "
        << shape.branches << " branches, width " << shape.width;
  }
}

TEST_P(EmbedCodesTest, SumsAreTakenInTheOrderOfTheBits) {
  const Embedding embedding = MakeEmbedding(200);
  const at::Tensor codes = Codes(2, 70);
  const at::Tensor expected = at::empty({2, 70, 200});
  auto to = expected.accessor<float, 3>();
  const at::Tensor host[] = {codes.cpu(), embedding.weight.cpu(),
                             embedding.bias.cpu(), embedding.level.cpu()};
  const auto code = host[0].accessor<float, 3>();
  const auto weight = host[1].accessor<float, 2>();
  const auto bias = host[2].accessor<float, 1>();
  const auto level = host[3].accessor<float, 1>();
  for (int slot = 0; slot < 2; ++slot) {
    for (int token = 0; token < 70; ++token) {
      for (int column = 0; column < 200; ++column) {
        float sum = 0;
        for (int bit = 0; bit < bits(); ++bit) {
          sum = std::fmaf(code[slot][token][bit], weight[column][bit], sum);
        }
        to[slot][token][column] = (sum + bias[column]) + level[column];
      }
    }
  }
  const at::Tensor out = Embed(embedding, codes, 2).cpu();
  EXPECT_TRUE(at::equal(out.select(1, 0), expected));
  EXPECT_TRUE(at::equal(out.select(1, 1), expected));
}

TEST_P(EmbedCodesTest, RowsBytesAreTheSameInAnyCompany) {
  const Embedding embedding = MakeEmbedding(2048);
  const at::Tensor codes = Codes(5, 601);
  const at::Tensor all = Embed(embedding, codes, 1);
  for (const std::int64_t slots : {1, 2, 5}) {
    for (const std::int64_t tokens : {1, 16, 64, 150, 601}) {
      for (const std::int64_t branches : {1, 2}) {
        for (const std::int64_t first : {std::int64_t{0}, 601 - tokens}) {
          const at::Tensor out = Embed(embedding,
                                       codes.narrow(0, 5 - slots, slots)
                                           .narrow(1, first, tokens)
                                           .contiguous(),
                                       branches);
          const at::Tensor same =
              all.narrow(0, 5 - slots, slots).narrow(2, first, tokens);
          EXPECT_TRUE(at::equal(out, same.expand({-1, branches, -1, -1})))
              << slots << " slots, " << tokens << " tokens from " << first
              << ", " << branches << " branches";
        }
      }
    }
  }
}

TEST_P(EmbedCodesTest, RecordedLaunchesEmbedWhateverCodesComeLater) {
  constexpr int kTimes = 200;
  const Embedding embedding = MakeEmbedding(2048);
  for (const std::int64_t tokens : {1, 16, 256, 1024, 4096}) {
    const at::Tensor codes = Codes(1, tokens);
    const at::Tensor out = at::empty({1, 2, tokens, 2048}, codes.options());
    // Kernels are loaded when they are first launched, which cannot be
    // recorded.
    Launch(embedding, codes, out);
    at::cuda::CUDAGraph graph;
    {
      const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
      graph.capture_begin();
      for (int i = 0; i < kTimes; ++i) Launch(embedding, codes, out);
      graph.capture_end();
    }
    codes.copy_(Codes(1, tokens));
    out.fill_(NAN);
    graph.replay();
    EXPECT_TRUE(at::equal(out, Embed(embedding, codes, 2))) << tokens;
    c10::cuda::device_synchronize();
    const auto begin = std::chrono::steady_clock::now();
    graph.replay();
    c10::cuda::device_synchronize();
    std::printf("%d bits, %lld tokens, width 2048, 2 branches: %.1f us\n",
                bits(), static_cast<long long>(tokens),
                1000 * Milliseconds(begin) / kTimes);
  }
}

INSTANTIATE_TEST_SUITE_P(Bits, EmbedCodesTest,
                         testing::Values(8, 30, 32, 56, 88));

using SquareEmbedCodesTest = EmbedCodesTest;

// Each launch may start while the one before it still runs, reads what that one
// writes, and writes what that one reads.
TEST_P(SquareEmbedCodesTest, ChainsSeeWhatTheOneBeforeWrote) {
  constexpr int kLaunches = 60;
  constexpr std::int64_t kTokens = 30000;
  Embedding embedding = MakeEmbedding(bits());
  embedding.weight /= std::sqrt(1.0 * bits());
  const at::Tensor codes = Codes(1, kTokens);
  const auto chain = [&](bool waits) {
    at::Tensor x = codes.clone();
    at::Tensor y = at::empty_like(x);
    c10::cuda::device_synchronize();
    for (int i = 0; i < kLaunches; ++i) {
      Launch(embedding, x, y.unsqueeze(1));
      if (waits) c10::cuda::device_synchronize();
      std::swap(x, y);
    }
    return x;
  };
  const at::Tensor waited = chain(/*waits=*/true);
  EXPECT_TRUE(waited.isfinite().all().item<bool>());
  EXPECT_TRUE(at::equal(chain(/*waits=*/false), waited));
}

INSTANTIATE_TEST_SUITE_P(Bits, SquareEmbedCodesTest,
                         testing::Values(32, 56, 88));

TEST(EmbedCodesShapeTest, OtherNumbersOfBitsAndWidthsAreRefused) {
  kernels::EmbedCodes work;
  work.slots = work.branches = work.tokens = 1;
  work.width = 8;
  for (const int bits : {-1, 0, kernels::kMostEmbeddedBits + 1}) {
    work.bits = bits;
    EXPECT_THROW(kernels::Launch(work, nullptr), kernels::CudaError) << bits;
  }
  work.bits = 8;
  for (const int width : {2, 2049}) {
    work.width = width;
    EXPECT_THROW(kernels::Launch(work, nullptr), kernels::CudaError) << width;
  }
}

}  // namespace
}  // namespace heatkv::model
