#include "model/parity/parity_report.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "nlohmann/json.hpp"

namespace heatkv::model {
namespace {

const at::Tensor kBits = at::ones({8}, at::kBool);

ParityReport Passing() {
  ParityReport report(/*with_pictures=*/true);
  report.Compare("logits", at::ones({4}), at::ones({4}));
  report.CompareBits(kBits, kBits.to(at::kLong));
  report.ComparePixels(at::full({3}, 7, at::kByte),
                       at::full({3}, 7, at::kByte));
  return report;
}

TEST(ParityReportTest, PassesWhenAllAgrees) {
  EXPECT_TRUE(Passing().Passes());
  const auto json = nlohmann::json::parse(Passing().ToJson());
  EXPECT_EQ(json["logits"], 0.0);
  EXPECT_TRUE(json["text"].is_null());
  EXPECT_EQ(json["bits_total"], 8);
  EXPECT_EQ(json["bits_flipped"], 0);
  EXPECT_EQ(json["pixels_total"], 3);
}

TEST(ParityReportTest, KeepsTheLargestRelativeError) {
  ParityReport report = Passing();
  report.Compare("text", at::tensor({1.0, 2.0}), at::tensor({1.0, 2.1}));
  report.Compare("text", at::tensor({10.0}), at::tensor({10.0}));
  EXPECT_NEAR(nlohmann::json::parse(report.ToJson())["text"].get<double>(),
              0.1 / 2.1, 1e-9);
}

TEST(ParityReportTest, FailsOnLogitsBitsOrPixelsThatDiffer) {
  ParityReport logits = Passing();
  logits.Compare("logits", at::tensor({1.0002}), at::tensor({1.0}));
  EXPECT_FALSE(logits.Passes());

  ParityReport not_a_number = Passing();
  not_a_number.Compare("logits",
                       at::tensor({std::numeric_limits<double>::quiet_NaN()}),
                       at::tensor({1.0}));
  EXPECT_FALSE(not_a_number.Passes());

  ParityReport bits = Passing();
  bits.CompareBits(kBits, at::tensor({1, 1, 1, 0, 1, 1, 1, 1}));
  EXPECT_FALSE(bits.Passes());

  ParityReport pixels = Passing();
  pixels.ComparePixels(at::full({3}, 7, at::kByte),
                       at::full({3}, 8, at::kByte));
  EXPECT_TRUE(pixels.Passes());  // one grey level is rounding
  pixels.ComparePixels(at::full({3}, 7, at::kByte),
                       at::full({3}, 9, at::kByte));
  EXPECT_FALSE(pixels.Passes());
  EXPECT_EQ(nlohmann::json::parse(pixels.ToJson())["pixels_off_by_more_than_1"],
            3);
}

TEST(ParityReportTest, WhatWasNotComparedDoesNotPass) {
  ParityReport nothing(/*with_pictures=*/false);
  EXPECT_FALSE(nothing.Passes());
  ParityReport no_pictures(/*with_pictures=*/true);
  no_pictures.Compare("logits", at::ones({4}), at::ones({4}));
  no_pictures.CompareBits(kBits, kBits);
  EXPECT_FALSE(no_pictures.Passes());
}

TEST(ParityReportTest, TellsOfEachScale) {
  ParityReport report(/*with_pictures=*/false);
  report.CompareScale(at::tensor({3.0, 4.0}), at::tensor({3.0, 4.0}), kBits,
                      kBits);
  report.CompareScale(at::tensor({3.0, 4.5}), at::tensor({3.0, 4.0}), kBits,
                      at::tensor({1, 1, 1, 0, 1, 1, 0, 1}));
  const auto json = nlohmann::json::parse(report.ToJson());
  ASSERT_EQ(json["scales"].size(), 2);
  EXPECT_EQ(json["scales"][0]["logits_relative_rms"], 0.0);
  EXPECT_EQ(json["scales"][0]["bits_flipped"], 0);
  EXPECT_NEAR(json["scales"][1]["logits_relative_rms"].get<double>(), 0.5 / 5,
              1e-12);
  EXPECT_NEAR(json["scales"][1]["logits_relative_max"].get<double>(), 0.5 / 4,
              1e-12);
  EXPECT_EQ(json["scales"][1]["bits_flipped"], 2);
  EXPECT_EQ(json["scales"][1]["bits_total"], 8);
  EXPECT_EQ(json["bits_total"], 16);
  EXPECT_EQ(json["bits_flipped"], 2);
  EXPECT_EQ(json["logits"], 0.125);
}

TEST(ParityReportTest, PsnrIsThatOfAllPixelsAndNoneIfTheyAreEqual) {
  ParityReport report = Passing();
  EXPECT_TRUE(nlohmann::json::parse(report.ToJson())["psnr"].is_null());
  report.ComparePixels(at::full({1}, 9, at::kByte),
                       at::full({1}, 5, at::kByte));
  // 16 over four pixels.
  EXPECT_NEAR(nlohmann::json::parse(report.ToJson())["psnr"].get<double>(),
              10 * std::log10(255.0 * 255.0 / 4), 1e-9);
}

}  // namespace
}  // namespace heatkv::model
