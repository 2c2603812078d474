#include "server/engine/simulated_load.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>

#include "base/check.h"

namespace heatkv::server {
namespace {

// The standard fixes the numbers of the generator, not of its distributions.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : generator_(seed) {}

  double Below1() {
    return static_cast<double>(generator_() >> 11) * 0x1.0p-53;
  }
  double Exponential() { return -std::log1p(-Below1()); }
  bool Happens(double share) { return share > 0 && Below1() < share; }

 private:
  std::mt19937_64 generator_;
};

class RandomSource {
 public:
  explicit RandomSource(const LoadOptions& options)
      : options_(options), dice_(options.seed) {
    HEATKV_CHECK(options.rate > 0);
    std::vector<double> shares = options.kinds;
    if (shares.empty()) shares.assign(options.kinds_count, 1.0);
    bounds_.resize(shares.size());
    std::partial_sum(shares.begin(), shares.end(), bounds_.begin());
    HEATKV_CHECK(bounds_.back() > 0);
  }

  std::optional<SimulatedRequest> Next() {
    if (made_ == options_.requests) return std::nullopt;
    ++made_;
    SimulatedRequest request;
    // Every request throws the same dice, so that changing one share leaves
    // the others' draws alone.
    now_ += absl::Seconds(dice_.Exponential() / options_.rate);
    request.arrives = now_;
    const double kind = dice_.Below1() * bounds_.back();
    request.kind = static_cast<int>(
        std::upper_bound(bounds_.begin(), bounds_.end() - 1, kind) -
        bounds_.begin());
    request.tenant = static_cast<int>(dice_.Below1() *
                                      static_cast<double>(options_.tenants));
    const double priority = dice_.Below1();
    if (priority < options_.high_share) {
      request.priority = Priority::kHigh;
    } else if (priority < options_.high_share + options_.low_share) {
      request.priority = Priority::kLow;
    }
    const double cancelled = dice_.Below1();
    const double when = dice_.Below1();
    if (cancelled < options_.cancel_share) {
      request.cancelled_after = options_.cancel_within * when;
    }
    if (dice_.Below1() < options_.deadline_share) {
      request.deadline_after = options_.deadline_after;
    }
    return request;
  }

 private:
  LoadOptions options_;
  Dice dice_;
  std::vector<double> bounds_;  // sums of the shares so far
  int made_ = 0;
  absl::Duration now_;
};

}  // namespace

RequestSource RandomLoad(const LoadOptions& options) {
  // Copies of the source share one generator.
  const auto source = std::make_shared<RandomSource>(options);
  return [source] { return source->Next(); };
}

RequestSource IdenticalLoad(int count) {
  return [left = count]() mutable -> std::optional<SimulatedRequest> {
    if (left == 0) return std::nullopt;
    --left;
    return SimulatedRequest{};
  };
}

LoadSummary Summarise(const SimulationReport& report, int warm_up) {
  std::vector<double> wait;
  std::vector<double> first_scale;
  std::vector<double> latency;
  for (std::size_t i = warm_up; i < report.requests.size(); ++i) {
    const RequestRecord& request = report.requests[i];
    if (request.outcome != Outcome::kFinished) continue;
    wait.push_back(absl::ToDoubleSeconds(request.started - request.arrived));
    first_scale.push_back(
        absl::ToDoubleSeconds(request.first_scale - request.arrived));
    latency.push_back(absl::ToDoubleSeconds(request.ended - request.arrived));
  }
  return {.wait = SpreadOf(std::move(wait)),
          .first_scale = SpreadOf(std::move(first_scale)),
          .latency = SpreadOf(std::move(latency))};
}

Concurrency MeasureConcurrency(const SchedulerOptions& scheduler,
                               const StepCapacity& capacity,
                               const StepCostTable& costs,
                               const RequestKind& kind) {
  // How many are in flight follows from the trajectory and shows after they
  // have all been replaced a few times; as many requests as that takes are
  // known only once it was seen.
  SimulationInput input;
  input.scheduler = scheduler;
  input.capacity = capacity;
  input.costs = &costs;
  input.kinds = {kind};
  input.backlog = 32;
  int seen = 64;
  while (true) {
    input.warm_up = 2 * seen;
    input.requests = IdenticalLoad(6 * seen);
    const SimulationReport report = Simulate(input);
    if (report.most_running_images <= seen) {
      return {.mean = report.mean_running_images,
              .greatest = report.most_running_images,
              .images_per_second = report.images_per_second};
    }
    seen = std::max(4 * seen, report.most_running_images);
  }
}

}  // namespace heatkv::server
