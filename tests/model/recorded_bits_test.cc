#include "model/parity/recorded_bits.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace heatkv::model {
namespace {

// One token of two bits.
const at::Tensor kProbabilities =
    at::tensor({0.4, 0.6, 0.9, 0.1}).view({1, 2, 2});
const at::Tensor kDraws = at::tensor({1.0, 1.0, 3.0, 0.1}).view({1, 2, 2});
const at::Tensor kDrawn = at::ones({1, 2}, at::kBool);

TEST(RecordedBitsTest, TheLargerProbabilityOverItsDrawWins) {
  RecordedBits bits({kDraws}, {});
  EXPECT_TRUE(bits.Draw(0, kProbabilities).equal(kDrawn));
  EXPECT_TRUE(bits.drawn().equal(kDrawn));
}

TEST(RecordedBitsTest, FedBitsAreReturnedAndDrawnOnesKept) {
  const at::Tensor fed = at::zeros({1, 2}, at::kBool);
  RecordedBits bits({kDraws}, {fed});
  EXPECT_TRUE(bits.Draw(0, kProbabilities).equal(fed));
  EXPECT_TRUE(bits.drawn().equal(kDrawn));
}

}  // namespace
}  // namespace heatkv::model
