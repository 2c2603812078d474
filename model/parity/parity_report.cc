#include "model/parity/parity_report.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "nlohmann/json.hpp"

namespace heatkv::model {
namespace {

constexpr const char* kKinds[] = {"text", "logits", "next_input",
                                  "summed_codes", "decoded"};
// A recorded tensor of zeros must not make every difference infinite.
constexpr double kSmallestScale = 1e-6;

// JSON has no infinity.
double Finite(double value) {
  return std::isfinite(value) ? value : std::numeric_limits<double>::max();
}

at::Tensor Exact(const at::Tensor& tensor) {
  return tensor.to(at::kCPU).to(at::kDouble);
}

double RootMeanSquare(const at::Tensor& tensor) {
  return std::sqrt(tensor.square().mean().item<double>());
}

double RelativeMax(const at::Tensor& mine, const at::Tensor& recorded) {
  const at::Tensor truth = Exact(recorded).reshape(mine.sizes());
  const double error =
      (Exact(mine) - truth).abs().max().item<double>() /
      std::max(truth.abs().max().item<double>(), kSmallestScale);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

double RelativeRms(const at::Tensor& mine, const at::Tensor& recorded) {
  const at::Tensor truth = Exact(recorded).reshape(mine.sizes());
  const double error = RootMeanSquare(Exact(mine) - truth) /
                       std::max(RootMeanSquare(truth), kSmallestScale);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

std::int64_t Flipped(const at::Tensor& mine, const at::Tensor& recorded) {
  return mine.to(at::kCPU)
      .to(at::kLong)
      .ne(recorded.to(at::kLong).reshape(mine.sizes()))
      .sum()
      .item<std::int64_t>();
}

}  // namespace

ParityReport::ParityReport(bool with_pictures)
    : with_pictures_(with_pictures) {}

void ParityReport::Compare(const std::string& kind, const at::Tensor& mine,
                           const at::Tensor& recorded) {
  HEATKV_CHECK_EQ(mine.numel(), recorded.numel()) << kind;
  const double error = RelativeMax(mine, recorded);
  const auto [it, added] = errors_.emplace(kind, error);
  if (!added) it->second = std::max(it->second, error);
}

void ParityReport::CompareBits(const at::Tensor& mine,
                               const at::Tensor& recorded) {
  HEATKV_CHECK_EQ(mine.numel(), recorded.numel());
  bits_total_ += mine.numel();
  bits_flipped_ += Flipped(mine, recorded);
}

void ParityReport::CompareScale(const at::Tensor& logits,
                                const at::Tensor& recorded_logits,
                                const at::Tensor& bits,
                                const at::Tensor& recorded_bits) {
  Compare("logits", logits, recorded_logits);
  CompareBits(bits, recorded_bits);
  scales_.push_back({.relative_rms = RelativeRms(logits, recorded_logits),
                     .relative_max = RelativeMax(logits, recorded_logits),
                     .bits_total = bits.numel(),
                     .bits_flipped = Flipped(bits, recorded_bits),
                     .server_bits_flipped = std::nullopt});
}

void ParityReport::CompareServerBits(const at::Tensor& mine,
                                     const at::Tensor& expected) {
  HEATKV_CHECK(!scales_.empty());
  HEATKV_CHECK_EQ(mine.numel(), expected.numel());
  scales_.back().server_bits_flipped = Flipped(mine, expected);
}

void ParityReport::ComparePixels(const at::Tensor& mine,
                                 const at::Tensor& recorded) {
  HEATKV_CHECK_EQ(mine.numel(), recorded.numel());
  const at::Tensor difference = (mine.to(at::kCPU).to(at::kInt) -
                                 recorded.to(at::kInt).reshape(mine.sizes()))
                                    .abs();
  pixels_square_ += difference.to(at::kDouble).square().sum().item<double>();
  pixels_total_ += mine.numel();
  pixels_off_ += difference.gt(0).sum().item<std::int64_t>();
  pixels_off_by_more_than_1_ += difference.gt(1).sum().item<std::int64_t>();
}

bool ParityReport::Passes() const {
  const auto logits = errors_.find("logits");
  const bool pictures_pass =
      !with_pictures_ || (pixels_total_ > 0 && pixels_off_by_more_than_1_ == 0);
  return logits != errors_.end() && logits->second <= kLogitsTolerance &&
         bits_total_ > 0 && bits_flipped_ == 0 && pictures_pass;
}

std::optional<double> ParityReport::Psnr() const {
  if (pixels_square_ == 0) return std::nullopt;
  return 10 * std::log10(255.0 * 255.0 * static_cast<double>(pixels_total_) /
                         pixels_square_);
}

std::string ParityReport::ToJson() const {
  nlohmann::ordered_json report;
  for (const char* kind : kKinds) {
    const auto it = errors_.find(kind);
    if (it == errors_.end()) {
      report[kind] = nullptr;
    } else {
      report[kind] = Finite(it->second);
    }
  }
  report["bits_total"] = bits_total_;
  report["bits_flipped"] = bits_flipped_;
  report["pixels_total"] = pixels_total_;
  report["pixels_off"] = pixels_off_;
  report["pixels_off_by_more_than_1"] = pixels_off_by_more_than_1_;
  report["psnr"] = nullptr;
  if (const std::optional<double> psnr = Psnr()) report["psnr"] = *psnr;
  report["scales"] = nlohmann::ordered_json::array();
  for (const Scale& scale : scales_) {
    report["scales"].push_back(
        {{"logits_relative_rms", Finite(scale.relative_rms)},
         {"logits_relative_max", Finite(scale.relative_max)},
         {"bits_total", scale.bits_total},
         {"bits_flipped", scale.bits_flipped},
         {"server_bits_flipped", nullptr}});
    if (scale.server_bits_flipped.has_value()) {
      report["scales"].back()["server_bits_flipped"] =
          *scale.server_bits_flipped;
    }
  }
  return report.dump(2);
}

}  // namespace heatkv::model
