#include "server/engine/step_cost_table.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace heatkv::server {
namespace {

constexpr int kTextTokens = 50;

std::string Name(const model::LadderSpec& ladder) {
  return absl::StrCat(ladder.aspect, " at ", ladder.pixel_class);
}

bool IsCost(absl::Duration cost) {
  return cost >= absl::ZeroDuration() && cost < absl::InfiniteDuration();
}

absl::Status Check(const model::LadderSpec& ladder,
                   const StepCostTable::LadderCosts& costs) {
  for (int branches = 1; branches <= 2; ++branches) {
    const auto& scales = costs.steps[branches - 1];
    const std::string name =
        absl::StrCat("ladder ", Name(ladder), ", ", branches,
                     branches == 1 ? " branch" : " branches");
    if (scales.size() != ladder.ladder.num_scales()) {
      return absl::InvalidArgumentError(absl::StrCat(
          name, ": costs of ", scales.size(), " scales, but the ladder has ",
          ladder.ladder.num_scales()));
    }
    for (std::size_t scale = 0; scale < scales.size(); ++scale) {
      if (scales[scale].empty()) {
        return absl::InvalidArgumentError(
            absl::StrCat(name, ", scale ", scale, ": no cost"));
      }
      for (const absl::Duration cost : scales[scale]) {
        if (IsCost(cost)) continue;
        return absl::InvalidArgumentError(
            absl::StrCat(name, ", scale ", scale, ": a step cannot take ",
                         absl::FormatDuration(cost)));
      }
    }
  }
  if (!IsCost(costs.decode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("ladder ", Name(ladder), ": decoding cannot take ",
                     absl::FormatDuration(costs.decode)));
  }
  return absl::OkStatus();
}

// Seconds of one step of a shape with `images` images.
double StepSeconds(const model::ModelSpec& spec, const DeviceRates& rates,
                   const cache::ScaleLadder& ladder, int scale, int branches,
                   int images) {
  const model::TransformerSpec& t = spec.transformer;
  const double width = t.width;
  const double products = (6 * width * width + 2 * width * t.mlp_width) *
                          t.depth;  // multiply-adds a row
  const double rows =
      static_cast<double>(ladder.tokens(scale)) * branches * images;
  const double seen =
      static_cast<double>(ladder.tokens_before(scale + 1)) + kTextTokens;
  // Keys and values of the text are computed once a request, but their weights
  // are counted with the others.
  const double weights = (products + 2 * width * width * t.depth) * 2;
  return std::max(weights / rates.bytes_per_second,
                  2 * products * rows / rates.linear_flop_per_second) +
         4 * width * t.depth * rows * seen / rates.attention_flop_per_second +
         rates.row_seconds * rows;
}

}  // namespace

absl::StatusOr<StepCostTable> StepCostTable::Create(
    const model::ModelSpec& spec, std::vector<LadderCosts> ladders,
    absl::Duration text, std::string source) {
  if (ladders.size() != spec.ladders.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("costs of ", ladders.size(), " ladders, but ", spec.name,
                     " has ", spec.ladders.size()));
  }
  for (std::size_t i = 0; i < ladders.size(); ++i) {
    if (absl::Status status = Check(spec.ladders[i], ladders[i]);
        !status.ok()) {
      return status;
    }
  }
  if (!IsCost(text)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "encoding a text cannot take ", absl::FormatDuration(text)));
  }
  return StepCostTable(std::move(ladders), text, std::move(source));
}

absl::Duration StepCostTable::ImageAlone(int ladder, int branches) const {
  absl::Duration total = text_ + Decode(ladder);
  const auto& scales = ladders_[ladder].steps[branches - 1];
  for (std::size_t scale = 0; scale < scales.size(); ++scale) {
    total += scales[scale].front();
  }
  return total;
}

StepCostTable ModeledCosts(const model::ModelSpec& spec,
                           const DeviceRates& rates) {
  std::vector<StepCostTable::LadderCosts> ladders;
  for (std::size_t i = 0; i < spec.ladders.size(); ++i) {
    const cache::ScaleLadder& ladder = spec.ladders[i].ladder;
    StepCostTable::LadderCosts costs;
    for (int branches = 1; branches <= 2; ++branches) {
      for (int scale = 0; scale < ladder.num_scales(); ++scale) {
        const int images =
            model::GroupCapacity(spec, static_cast<int>(i), scale, branches);
        costs.steps[branches - 1].push_back({absl::Seconds(
            StepSeconds(spec, rates, ladder, scale, branches, images))});
      }
    }
    const cache::Grid& last = ladder.grid(ladder.num_scales() - 1);
    const double side = spec.pixels_per_token();
    costs.decode = absl::Seconds(static_cast<double>(last.tokens()) * side *
                                 side * rates.pixel_seconds);
    ladders.push_back(std::move(costs));
  }
  const model::TextEncoderSpec& text = spec.text_encoder;
  const double text_weights = text.layers *
                              (4.0 * text.width * text.heads * text.head_width +
                               3.0 * text.width * text.mlp_width) *
                              2;
  absl::StatusOr<StepCostTable> table = StepCostTable::Create(
      spec, std::move(ladders),
      absl::Seconds(text_weights / rates.bytes_per_second),
      absl::StrCat("modelled: a device of the ", rates.name,
                   " computed from rates, not a measurement"));
  HEATKV_CHECK_OK(table.status());
  return *std::move(table);
}

}  // namespace heatkv::server
