#include "bench/stage_times.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace heatkv::server {

using Lock = std::lock_guard<std::mutex>;

double Median(std::vector<double> values) {
  HEATKV_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void StageTimes::OnStage(Stage stage, absl::Duration took) {
  const Lock lock(mutex_);
  stages_[StageName(stage)].push_back(absl::ToDoubleMilliseconds(took));
}

void StageTimes::OnScale(int scale, absl::Duration took) {
  const Lock lock(mutex_);
  if (scale >= static_cast<int>(scales_.size())) scales_.resize(scale + 1);
  scales_[scale].push_back(absl::ToDoubleMilliseconds(took));
}

void StageTimes::OnStep(int) {
  const Lock lock(mutex_);
  ++steps_;
  if (read_memory_) most_memory_ = std::max(most_memory_, read_memory_());
}

void StageTimes::SetMemoryReader(std::function<std::int64_t()> read) {
  const Lock lock(mutex_);
  read_memory_ = std::move(read);
}

void StageTimes::Clear() {
  const Lock lock(mutex_);
  stages_.clear();
  scales_.clear();
  steps_ = 0;
  most_memory_ = 0;
}

std::vector<double> StageTimes::ScaleMedians() const {
  std::vector<double> medians;
  for (const auto& values : scales_) {
    medians.push_back(values.empty() ? 0.0 : Median(values));
  }
  return medians;
}

nlohmann::json StageTimes::Report() const {
  const Lock lock(mutex_);
  nlohmann::json report = {{"steps", steps_}, {"scale_ms", ScaleMedians()}};
  for (const auto& [name, values] : stages_) {
    report["stage_ms"][name] = Median(values);
  }
  return report;
}

std::vector<double> StageTimes::scale_ms() const {
  const Lock lock(mutex_);
  return ScaleMedians();
}

std::int64_t StageTimes::most_memory() const {
  const Lock lock(mutex_);
  return most_memory_;
}

double StageTimes::stage_ms(Stage stage) const {
  const Lock lock(mutex_);
  const auto found = stages_.find(StageName(stage));
  return found == stages_.end() ? 0.0 : Median(found->second);
}

}  // namespace heatkv::server
