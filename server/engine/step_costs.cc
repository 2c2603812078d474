#include "server/engine/step_costs.h"

#include <cstdint>

#include "base/check.h"

namespace heatkv::server {
namespace {

constexpr double kNewestWeight = 0.25;
constexpr double kRowsPerSecondBeforeAnyMeasurement = 10000;

std::int64_t Tokens(const cache::Trajectory& trajectory, int scale) {
  return trajectory.schedule()->ladder().tokens(scale);
}

int NumScales(const cache::Trajectory& trajectory) {
  return trajectory.schedule()->ladder().num_scales();
}

// Seconds of a step for one row, over all steps that were measured: with
// `branches` if there are any, else with any number.  Nothing if there are
// none.
template <typename Steps>
std::optional<double> SecondsPerRow(const Steps& steps, int branches) {
  double seconds[2] = {0, 0};
  double rows[2] = {0, 0};
  for (const auto& [kind, mean] : steps) {
    const int of_kind = std::get<2>(kind);
    const int same = of_kind == branches ? 0 : 1;
    seconds[same] += mean.seconds;
    rows[same] += static_cast<double>(mean.tokens) * of_kind;
  }
  for (const int same : {0, 1}) {
    if (rows[same] > 0) return seconds[same] / rows[same];
  }
  return std::nullopt;
}

}  // namespace

void StepCosts::Mean::Add(double value) {
  seconds = measured ? seconds + kNewestWeight * (value - seconds) : value;
  measured = true;
}

void StepCosts::RecordStep(int ladder, int scale, int branches, int tokens,
                           int images, absl::Duration took) {
  HEATKV_CHECK_GE(images, 1);
  HEATKV_CHECK_GE(tokens, 1);
  Mean& mean = steps_[{ladder, scale, branches}];
  mean.tokens = tokens;
  mean.Add(absl::ToDoubleSeconds(took) / images);
}

void StepCosts::RecordDecode(int ladder, int tokens, absl::Duration took) {
  HEATKV_CHECK_GE(tokens, 1);
  Mean& mean = decodes_[ladder];
  mean.tokens = tokens;
  mean.Add(absl::ToDoubleSeconds(took));
}

void StepCosts::RecordText(absl::Duration took) {
  text_.Add(absl::ToDoubleSeconds(took));
}

void StepCosts::Doubt() {
  constexpr double kBelief = 0.9;
  for (auto& [kind, mean] : steps_) mean.seconds *= kBelief;
  for (auto& [ladder, mean] : decodes_) mean.seconds *= kBelief;
  text_.seconds *= kBelief;
}

std::optional<absl::Duration> StepCosts::Step(int ladder, int scale,
                                              int branches, int tokens) const {
  const auto found = steps_.find({ladder, scale, branches});
  if (found != steps_.end()) return absl::Seconds(found->second.seconds);
  const std::optional<double> per_row = SecondsPerRow(steps_, branches);
  if (!per_row.has_value()) return std::nullopt;
  return absl::Seconds(*per_row * tokens * branches);
}

std::optional<absl::Duration> StepCosts::Decode(int ladder, int tokens) const {
  const auto found = decodes_.find(ladder);
  if (found != decodes_.end()) return absl::Seconds(found->second.seconds);
  double seconds = 0;
  double measured_tokens = 0;
  for (const auto& [other, mean] : decodes_) {
    seconds += mean.seconds;
    measured_tokens += mean.tokens;
  }
  if (measured_tokens == 0) return std::nullopt;
  return absl::Seconds(seconds / measured_tokens * tokens);
}

std::optional<absl::Duration> StepCosts::Text() const {
  if (!text_.measured) return std::nullopt;
  return absl::Seconds(text_.seconds);
}

std::optional<absl::Duration> StepCosts::Rest(
    int ladder, const cache::Trajectory& trajectory, int scale) const {
  const int scales = NumScales(trajectory);
  std::optional<absl::Duration> rest =
      Decode(ladder, static_cast<int>(Tokens(trajectory, scales - 1)));
  for (int s = scale; s < scales && rest.has_value(); ++s) {
    const std::optional<absl::Duration> step =
        Step(ladder, s, trajectory.branches(),
             static_cast<int>(Tokens(trajectory, s)));
    if (!step.has_value()) return std::nullopt;
    *rest += *step;
  }
  return rest;
}

double StepCosts::ByteSeconds(int ladder,
                              const cache::Trajectory& trajectory) const {
  const int branches = trajectory.branches();
  const double per_row = SecondsPerRow(steps_, branches)
                             .value_or(1 / kRowsPerSecondBeforeAnyMeasurement);
  double sum = 0;
  for (int s = 0; s < NumScales(trajectory); ++s) {
    const auto found = steps_.find({ladder, s, branches});
    const double seconds =
        found != steps_.end()
            ? found->second.seconds
            : per_row * static_cast<double>(Tokens(trajectory, s)) * branches;
    sum += static_cast<double>(trajectory.bytes(trajectory.blocks_peak(s))) *
           seconds;
  }
  return sum;
}

}  // namespace heatkv::server
