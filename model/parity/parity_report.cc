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

}  // namespace

ParityReport::ParityReport(bool with_pictures)
    : with_pictures_(with_pictures) {}

void ParityReport::Compare(const std::string& kind, const at::Tensor& mine,
                           const at::Tensor& recorded) {
  HEATKV_CHECK_EQ(mine.numel(), recorded.numel()) << kind;
  const at::Tensor truth = recorded.to(at::kDouble).reshape(mine.sizes());
  double error = (mine.to(at::kDouble) - truth).abs().max().item<double>() /
                 std::max(truth.abs().max().item<double>(), kSmallestScale);
  if (std::isnan(error)) error = std::numeric_limits<double>::infinity();
  const auto [it, added] = errors_.emplace(kind, error);
  if (!added) it->second = std::max(it->second, error);
}

void ParityReport::CompareBits(const at::Tensor& mine,
                               const at::Tensor& recorded) {
  HEATKV_CHECK_EQ(mine.numel(), recorded.numel());
  bits_total_ += mine.numel();
  bits_flipped_ += mine.to(at::kLong)
                       .ne(recorded.to(at::kLong).reshape(mine.sizes()))
                       .sum()
                       .item<std::int64_t>();
}

void ParityReport::ComparePixels(const at::Tensor& mine,
                                 const at::Tensor& recorded) {
  HEATKV_CHECK_EQ(mine.numel(), recorded.numel());
  const at::Tensor difference =
      (mine.to(at::kInt) - recorded.to(at::kInt).reshape(mine.sizes())).abs();
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

std::string ParityReport::ToJson() const {
  nlohmann::ordered_json report;
  for (const char* kind : kKinds) {
    const auto it = errors_.find(kind);
    if (it == errors_.end()) {
      report[kind] = nullptr;
    } else if (std::isfinite(it->second)) {
      report[kind] = it->second;
    } else {
      report[kind] =
          std::numeric_limits<double>::max();  // JSON has no infinity
    }
  }
  report["bits_total"] = bits_total_;
  report["bits_flipped"] = bits_flipped_;
  report["pixels_total"] = pixels_total_;
  report["pixels_off"] = pixels_off_;
  report["pixels_off_by_more_than_1"] = pixels_off_by_more_than_1_;
  return report.dump(2);
}

}  // namespace heatkv::model
