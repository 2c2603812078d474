#include "client/plan_admission.h"

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "client/plan_costs.h"

namespace heatkv::client {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kImagesOfAPool = 8;

Json ToJson(const server::Concurrency& concurrency) {
  return {{"mean", concurrency.mean},
          {"greatest", concurrency.greatest},
          {"images_per_second", concurrency.images_per_second}};
}

std::string Line(const char* rule, const server::Concurrency& concurrency) {
  return absl::StrFormat(
      "  %-13s %8.1f on average, %5d at most, %.2f images "
      "a second\n",
      rule, concurrency.mean, concurrency.greatest,
      concurrency.images_per_second);
}

}  // namespace

absl::StatusOr<AdmissionGain> MeasureAdmission(
    const PlanReport& report, const AdmissionRequest& request) {
  const auto trajectory =
      std::make_shared<const cache::Trajectory>(report.trajectory);
  const std::int64_t block = trajectory->geometry().block_bytes();
  const std::int64_t limit = request.pool_bytes > 0
                                 ? request.pool_bytes / block
                                 : kImagesOfAPool * trajectory->peak_blocks();
  if (limit < trajectory->peak_blocks()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "one image needs ", trajectory->peak_bytes(),
        " bytes at its peak, but the pool has ", request.pool_bytes));
  }
  server::StepCostTable costs = server::ModeledCosts(report.spec);
  if (!request.costs.empty()) {
    ASSIGN_OR_RETURN(costs, ReadStepCosts(request.costs, report.spec));
  }
  const server::StepCapacity capacity = [&](int ladder, int scale,
                                            int branches) {
    return model::GroupCapacity(report.spec, ladder, scale, branches);
  };
  server::RequestKind kind;
  kind.choices = {{.tier = 0, .trajectory = trajectory}};
  server::SchedulerOptions scheduler;
  scheduler.limit_blocks = limit;
  scheduler.max_running_images = request.max_running;
  scheduler.policy = server::SchedulingPolicy::kPreview;

  AdmissionGain gain;
  gain.pool_bytes = limit * block;
  gain.max_running = request.max_running;
  gain.costs = costs.source();
  gain.safe = MeasureConcurrency(scheduler, capacity, costs, kind);
  scheduler.rule = server::AdmissionRule::kSumOfPeaks;
  gain.by_peaks = MeasureConcurrency(scheduler, capacity, costs, kind);
  gain.rested =
      CapacityOf(limit, *trajectory,
                 FirstScaleAlone(report.spec, 0, trajectory->branches()));
  return gain;
}

std::string ToText(const AdmissionGain& gain) {
  std::string text = absl::StrFormat(
      "\nimages in flight in a pool of %.2f MiB, when identical requests "
      "without end wait\n(policy preview, at most %d in flight; steps %s)\n",
      static_cast<double>(gain.pool_bytes) / (1 << 20), gain.max_running,
      gain.costs);
  absl::StrAppend(&text, Line("sum of peaks", gain.by_peaks),
                  Line("safe states", gain.safe));
  absl::StrAppendFormat(
      &text,
      "  %.1f times as many on average.  Most of them wait early, when an "
      "image "
      "is small; with\n  all scales done that run in groups %d fit, where %d "
      "peaks do.  Pictures are seen sooner;\n  not more are made in a "
      "second.\n",
      gain.safe.mean / gain.by_peaks.mean, gain.rested.safe,
      gain.rested.by_peaks);
  return text;
}

Json ToJson(const AdmissionGain& gain) {
  return {{"pool_bytes", gain.pool_bytes},
          {"policy", "preview"},
          {"max_running", gain.max_running},
          {"costs", gain.costs},
          {"sum_of_peaks", ToJson(gain.by_peaks)},
          {"safe_state", ToJson(gain.safe)},
          {"past_small_scales", gain.rested.safe}};
}

}  // namespace heatkv::client
