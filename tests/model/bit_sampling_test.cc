#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/infinity/bit_probabilities.h"
#include "model/infinity/bit_source.h"
#include "model/infinity/philox.h"

namespace heatkv::model {
namespace {

at::Tensor ProbabilitiesOfOne(double p, std::int64_t tokens,
                              std::int64_t bits) {
  const at::Tensor one = at::full({tokens, bits}, p, at::kFloat);
  return at::stack({1 - one, one}, -1);
}

TEST(PhiloxBitsTest, FrequenciesFollowTheProbabilities) {
  constexpr std::int64_t kTokens = 2000;
  constexpr std::int64_t kBits = 32;
  for (const double p : {0.031, 0.2, 0.5, 0.9}) {
    PhiloxBits source(/*seed=*/12345, /*image=*/0);
    const auto ones = source.Draw(3, ProbabilitiesOfOne(p, kTokens, kBits))
                          .sum()
                          .item<std::int64_t>();
    const double n = kTokens * kBits;
    // Four standard deviations of a binomial count.
    EXPECT_NEAR(ones, n * p, 4 * std::sqrt(n * p * (1 - p))) << p;
  }
}

TEST(PhiloxBitsTest, UniformNumbersPassAChiSquareTest) {
  const at::Tensor uniforms = PhiloxBits(7, 1).Uniforms(0, 4000, 32);
  constexpr int kCells = 256;
  const at::Tensor counts = at::histc(uniforms, kCells, 0, 1);
  const double expected = uniforms.numel() / static_cast<double>(kCells);
  const double chi_square =
      (counts - expected).pow(2).sum().item<double>() / expected;
  // 255 degrees of freedom: mean 255, standard deviation 22.6.
  EXPECT_GT(chi_square, 255 - 5 * 22.6);
  EXPECT_LT(chi_square, 255 + 5 * 22.6);
}

TEST(PhiloxBitsTest, CertainBitsAreNeverDrawnOtherwise) {
  PhiloxBits source(1, 2);
  EXPECT_EQ(
      source.Draw(0, ProbabilitiesOfOne(0, 500, 32)).sum().item<std::int64_t>(),
      0);
  EXPECT_TRUE(
      source.Draw(0, ProbabilitiesOfOne(1, 500, 32)).all().item<bool>());
}

TEST(PhiloxBitsTest, ABitDependsOnItsOwnCoordinatesOnly) {
  const at::Tensor all = PhiloxBits(9, 4).Uniforms(2, 50, 32);
  // Fewer tokens or bits do not change those that remain.
  EXPECT_TRUE(
      at::equal(PhiloxBits(9, 4).Uniforms(2, 20, 32), all.slice(0, 0, 20)));
  EXPECT_TRUE(
      at::equal(PhiloxBits(9, 4).Uniforms(2, 50, 14), all.slice(1, 0, 14)));
  // Any other coordinate or key does.
  EXPECT_FALSE(at::equal(PhiloxBits(9, 4).Uniforms(3, 50, 32), all));
  EXPECT_FALSE(at::equal(PhiloxBits(9, 5).Uniforms(2, 50, 32), all));
  EXPECT_FALSE(at::equal(PhiloxBits(10, 4).Uniforms(2, 50, 32), all));
  EXPECT_FALSE(
      at::equal(PhiloxBits(9 + (1ull << 32), 4).Uniforms(2, 50, 32), all));
}

TEST(PhiloxBitsTest, BitsTakeTheWordsOfTheirSharedCounter) {
  const at::Tensor uniforms =
      PhiloxBits(/*seed=*/0x0000000200000001, /*image=*/5).Uniforms(6, 3, 10);
  for (int bit = 0; bit < 10; ++bit) {
    const PhiloxCounter words =
        Philox4x32({5, 6, 2, static_cast<std::uint32_t>(bit / 4)}, {1, 2});
    EXPECT_EQ(uniforms[2][bit].item<float>(), UnitFloat(words[bit % 4]));
  }
}

TEST(BitProbabilitiesTest, AreTheSoftmaxOfGuidedLogits) {
  const at::Tensor logits = at::randn({2, 5, 8});
  const double guidance = 3.5;
  const double tau = 0.7;
  const at::Tensor p =
      BitProbabilities(GuidedLogits(logits, guidance, tau), /*top_p=*/1.0);
  ASSERT_EQ(p.sizes(), (at::IntArrayRef{5, 4, 2}));
  const at::Tensor wide = logits.to(at::kDouble).view({2, 5, 4, 2}) / tau;
  const at::Tensor truth =
      at::softmax(guidance * wide[0] + (1 - guidance) * wide[1], -1);
  EXPECT_TRUE(at::allclose(p.to(at::kDouble), truth, 1e-4, 1e-6));
}

TEST(BitProbabilitiesTest, GuidanceOfOneNeedsNoUnconditionalRow) {
  const at::Tensor logits = at::randn({2, 3, 4});
  EXPECT_TRUE(at::equal(GuidedLogits(logits, 1.0, 0.5),
                        GuidedLogits(logits.slice(0, 0, 1), 1.0, 0.5)));
}

TEST(BitProbabilitiesTest, TopPGivesAnUnlikelyClassToTheOther) {
  const auto logits_of = [](double p) {
    return at::tensor({0.0f, static_cast<float>(std::log(p / (1 - p)))})
        .view({1, 1, 2});
  };
  // top_p 0.97 drops a class of probability 0.03 and less.
  EXPECT_EQ(BitProbabilities(logits_of(0.0299), 0.97)[0][0][1].item<float>(),
            0.0f);
  EXPECT_EQ(BitProbabilities(logits_of(0.0299), 0.97)[0][0][0].item<float>(),
            1.0f);
  EXPECT_NEAR(BitProbabilities(logits_of(0.0301), 0.97)[0][0][1].item<float>(),
              0.0301, 1e-5);
  EXPECT_EQ(BitProbabilities(logits_of(0.971), 0.97)[0][0][1].item<float>(),
            1.0f);
  // A tie keeps both, whatever top_p says.
  EXPECT_EQ(BitProbabilities(logits_of(0.5), 0.1)[0][0][1].item<float>(), 0.5f);
}

}  // namespace
}  // namespace heatkv::model
