#include "client/plan_simulation.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "cache/safe_state.h"
#include "client/plan_costs.h"
#include "client/plan_model.h"

namespace heatkv::client {
namespace {

using server::AdmissionRule;
using server::SchedulingPolicy;

constexpr int kImagesOfAPool = 8;

struct Tier {
  std::string name;
  cache::Budget budget = cache::Budget::Full();
  double share = 1;
};

// All that simulations of one request have in common.
struct Bench {
  // With the ladders of the mix, then those that only the table shows.
  PlannedModel model;
  std::vector<double> ladder_shares;  // of the mix
  std::vector<Tier> tiers;
  std::optional<cache::Ranking> ranking;  // for the longest ladder

  server::StepCapacity capacity() const {
    return [this](int ladder, int scale, int branches) {
      return model::GroupCapacity(model.spec, ladder, scale, branches);
    };
  }
};

absl::StatusOr<std::vector<Tier>> ReadTiers(const std::string& text) {
  std::vector<Tier> tiers;
  ASSIGN_OR_RETURN(const std::vector<MixShare> mix, ParseMix(text));
  for (const MixShare& entry : mix) {
    Tier tier;
    ASSIGN_OR_RETURN(tier.budget, cache::Budget::Parse(entry.name));
    tier.name = tier.budget == cache::Budget::Full()
                    ? "full"
                    : absl::StrFormat("%g %%", 100 * tier.budget.fraction());
    tier.share = entry.share;
    tiers.push_back(std::move(tier));
  }
  return tiers;
}

absl::StatusOr<Bench> ReadBench(const SimulationRequest& request,
                                std::vector<std::string>* notes) {
  Bench bench;
  ASSIGN_OR_RETURN(bench.model, LoadPlannedModel(request.plan));
  ASSIGN_OR_RETURN(bench.tiers, ReadTiers(request.tiers));
  std::vector<MixShare> mix = {{request.plan.aspect, 1}};
  if (!request.aspects.empty()) {
    ASSIGN_OR_RETURN(mix, ParseMix(request.aspects));
  }
  std::vector<model::LadderSpec> ladders;
  for (const MixShare& entry : mix) {
    PlanRequest one = request.plan;
    const std::vector<std::string> parts = absl::StrSplit(entry.name, '@');
    one.aspect = parts[0];
    if (parts.size() > 1) one.pixel_class = parts[1];
    ASSIGN_OR_RETURN(model::LadderSpec ladder,
                     FindLadder(bench.model.spec, one));
    ladders.push_back(std::move(ladder));
    bench.ladder_shares.push_back(entry.share);
  }
  if (request.aspects.empty() && request.costs.empty()) {
    for (const model::LadderSpec& other : bench.model.spec.ladders) {
      if (other.aspect == ladders.front().aspect &&
          other.pixel_class != ladders.front().pixel_class) {
        ladders.push_back(other);
      }
    }
  }
  const model::LadderSpec longest = *std::max_element(
      ladders.begin(), ladders.end(), [](const auto& a, const auto& b) {
        return a.ladder.num_scales() < b.ladder.num_scales();
      });
  const bool is_ranked = !request.plan.orders.empty() ||
                         !request.plan.profile.empty() ||
                         !bench.model.spec.profile.empty();
  if (is_ranked) {
    std::string file;
    ASSIGN_OR_RETURN(bench.ranking, ReadRanking(bench.model, request.plan,
                                                longest, &file, notes));
    notes->insert(notes->begin(), absl::StrCat("Ranking: ", file, "."));
  } else {
    bench.ranking = LayerOrder(bench.model.geometry, longest.ladder);
    notes->push_back(
        "No ranking is known, so heads are dropped in the order of their "
        "layers; bytes depend on how many heads drop a scale, which is exact, "
        "and hardly on which.");
  }
  bench.model.spec.ladders = std::move(ladders);
  return bench;
}

absl::StatusOr<std::shared_ptr<const cache::Trajectory>> MakeTrajectory(
    const Bench& bench, const model::LadderSpec& ladder, const Tier& tier,
    int branches) {
  const cache::CacheGeometry& geometry = bench.model.geometry;
  std::shared_ptr<const cache::Schedule> schedule;
  if (tier.budget == cache::Budget::Full()) {
    schedule = std::make_shared<const cache::Schedule>(
        cache::FullSchedule(ladder.ladder, geometry.layers, geometry.heads));
  } else {
    std::vector<std::string> notes;
    ASSIGN_OR_RETURN(cache::Schedule solved,
                     SolveForLadder(ladder.ladder, tier.budget, *bench.ranking,
                                    geometry.layers, geometry.heads, &notes));
    schedule = std::make_shared<const cache::Schedule>(std::move(solved));
  }
  return std::make_shared<const cache::Trajectory>(schedule, geometry,
                                                   branches);
}

std::string SizeOf(const model::ModelSpec& spec,
                   const model::LadderSpec& ladder) {
  const cache::Grid& last = ladder.ladder.grid(ladder.ladder.num_scales() - 1);
  return absl::StrCat(last.width * spec.pixels_per_token(), "x",
                      last.height * spec.pixels_per_token());
}

absl::Status FillCapacity(const SimulationRequest& request, const Bench& bench,
                          SimulationPlan* plan) {
  const double gigabyte = 1e9;
  for (const std::uint64_t bytes : request.pools) {
    plan->pools.push_back(static_cast<std::int64_t>(bytes));
    const double mebibytes = static_cast<double>(bytes) / (1 << 20);
    plan->columns.push_back(
        mebibytes < 1024 ? absl::StrFormat("pool %g MiB", mebibytes)
                         : absl::StrFormat("pool %g GiB", mebibytes / 1024));
  }
  for (const std::uint64_t bytes :
       request.pools.empty() ? request.devices : std::vector<std::uint64_t>{}) {
    if (bytes <= request.reserve_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("a device of ", bytes, " bytes has no pool when ",
                       request.reserve_bytes, " are reserved"));
    }
    plan->pools.push_back(
        static_cast<std::int64_t>(bytes - request.reserve_bytes));
    plan->columns.push_back(
        absl::StrFormat("%g GB", static_cast<double>(bytes) / gigabyte));
  }
  for (std::size_t l = 0; l < bench.model.spec.ladders.size(); ++l) {
    const model::LadderSpec& ladder = bench.model.spec.ladders[l];
    for (const Tier& tier : bench.tiers) {
      CapacityRow row;
      row.size = SizeOf(bench.model.spec, ladder);
      row.tier = tier.name;
      const auto trajectory =
          MakeTrajectory(bench, ladder, tier, request.plan.branches);
      if (trajectory.ok()) {
        row.peak_bytes = (*trajectory)->peak_bytes();
        const int rest = FirstScaleAlone(bench.model.spec, static_cast<int>(l),
                                         request.plan.branches);
        for (const std::int64_t pool : plan->pools) {
          row.cells.push_back(
              CapacityOf(pool / plan->block_bytes, **trajectory, rest));
        }
      } else {
        row.why_not = std::string(trajectory.status().message());
      }
      plan->capacity.push_back(std::move(row));
    }
  }
  return absl::OkStatus();
}

// Policies or rules that a word stands for.
template <typename T>
absl::StatusOr<std::vector<T>> Chosen(const std::string& word,
                                      const char* first, T first_value,
                                      const char* second, T second_value) {
  if (word == first) return std::vector<T>{first_value};
  if (word == second) return std::vector<T>{second_value};
  if (word == "both") return std::vector<T>{first_value, second_value};
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", word, "\" is none of ", first, ", ", second, " and both"));
}

absl::Status FillRuns(const SimulationRequest& request, const Bench& bench,
                      const server::StepCostTable& costs,
                      SimulationPlan* plan) {
  server::SimulationInput input;
  input.capacity = bench.capacity();
  input.costs = &costs;
  server::LoadOptions load;
  std::int64_t largest = 0;
  absl::Duration alone;
  absl::Status last_failure;
  for (std::size_t l = 0; l < bench.ladder_shares.size(); ++l) {
    for (std::size_t t = 0; t < bench.tiers.size(); ++t) {
      const model::LadderSpec& ladder = bench.model.spec.ladders[l];
      absl::StatusOr<std::shared_ptr<const cache::Trajectory>> made =
          MakeTrajectory(bench, ladder, bench.tiers[t], request.plan.branches);
      if (!made.ok()) {
        plan->notes.push_back(absl::StrCat("The load is without ",
                                           bench.tiers[t].name, " at ",
                                           SizeOf(bench.model.spec, ladder),
                                           ": ", made.status().message(), "."));
        last_failure = made.status();
        continue;
      }
      const std::shared_ptr<const cache::Trajectory> trajectory =
          *std::move(made);
      largest = std::max(largest, trajectory->peak_blocks());
      server::RequestKind kind;
      kind.ladder = static_cast<int>(l);
      kind.choices = {{.tier = static_cast<int>(t), .trajectory = trajectory}};
      input.kinds.push_back(std::move(kind));
      load.kinds.push_back(bench.ladder_shares[l] * bench.tiers[t].share);
      alone = std::max(
          alone, costs.ImageAlone(static_cast<int>(l), request.plan.branches));
    }
  }
  if (input.kinds.empty()) return last_failure;
  plan->pool_blocks =
      request.pool_bytes > 0
          ? static_cast<std::int64_t>(request.pool_bytes) / plan->block_bytes
          : kImagesOfAPool * largest;
  plan->pool_bytes = plan->pool_blocks * plan->block_bytes;
  if (plan->pool_blocks < largest) {
    return absl::InvalidArgumentError(
        absl::StrCat("the largest image needs ", largest * plan->block_bytes,
                     " bytes, but the pool has ", request.pool_bytes));
  }
  input.scheduler.limit_blocks = plan->pool_blocks;
  input.scheduler.max_running_images = request.max_running;
  input.scheduler.queue.max_bytes = std::int64_t{1} << 60;

  load.seed = request.seed;
  load.requests = 1000;
  input.backlog = 32;
  input.warm_up = 200;
  input.requests = RandomLoad(load);
  plan->saturated_rate = Simulate(input).images_per_second;

  plan->max_running = request.max_running;
  plan->requests = load.requests = request.requests;
  input.warm_up = request.requests / 10;
  if (!request.saturate) {
    input.backlog = 0;
    plan->rate =
        request.rate > 0 ? request.rate : request.load * plan->saturated_rate;
    load.rate = plan->rate;
  }
  load.cancel_share = request.cancel_share;
  load.cancel_within = 10 * alone;
  ASSIGN_OR_RETURN(const auto policies,
                   Chosen(request.policy, "latency", SchedulingPolicy::kLatency,
                          "preview", SchedulingPolicy::kPreview));
  ASSIGN_OR_RETURN(const auto rules,
                   Chosen(request.rule, "safe", AdmissionRule::kSafeState,
                          "peaks", AdmissionRule::kSumOfPeaks));
  for (const AdmissionRule rule : rules) {
    for (const SchedulingPolicy policy : policies) {
      input.scheduler.rule = rule;
      input.scheduler.policy = policy;
      input.requests = RandomLoad(load);
      SimulationRun run;
      run.policy = policy == SchedulingPolicy::kLatency ? "latency" : "preview";
      run.rule =
          rule == AdmissionRule::kSafeState ? "safe states" : "sum of peaks";
      run.report = Simulate(input);
      run.summary = Summarise(run.report, input.warm_up);
      plan->runs.push_back(std::move(run));
    }
  }
  return absl::OkStatus();
}

absl::Status Check(const SimulationRequest& request) {
  if (request.requests < 10 || request.max_running < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("simulates ", request.requests, " requests, ",
                     request.max_running, " in flight: at least 10 and 1"));
  }
  if (request.rate < 0 || request.load <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a rate of ", request.rate, " and a load of ",
                     request.load, " are not both above 0"));
  }
  if (request.cancel_share < 0 || request.cancel_share > 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a share of ", request.cancel_share, " is not between 0 and 1"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<MixShare>> ParseMix(std::string_view text) {
  std::vector<MixShare> mix;
  for (const std::string_view part : std::vector<std::string>(
           absl::StrSplit(absl::string_view(text.data(), text.size()), ','))) {
    const std::size_t equals = part.find('=');
    MixShare entry;
    entry.name = std::string(part.substr(0, equals));
    if (equals != std::string_view::npos &&
        (!absl::SimpleAtod(std::string(part.substr(equals + 1)),
                           &entry.share) ||
         !(entry.share > 0) || entry.share > 1e9)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", std::string(part), "\": the share is no number above 0"));
    }
    if (entry.name.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", std::string(text), "\": a name is empty"));
    }
    mix.push_back(std::move(entry));
  }
  return mix;
}

int FirstScaleAlone(const model::ModelSpec& spec, int ladder, int branches) {
  const int last = spec.ladders[ladder].ladder.num_scales() - 1;
  int scale = 0;
  while (scale < last &&
         model::GroupCapacity(spec, ladder, scale, branches) > 1) {
    ++scale;
  }
  return scale;
}

CapacityCell CapacityOf(std::int64_t limit_blocks,
                        const cache::Trajectory& trajectory, int rest_scale) {
  CapacityCell cell;
  cell.by_peaks = limit_blocks / trajectory.peak_blocks();
  if (cell.by_peaks == 0) return cell;
  // Every image adds what it holds at rest; the first one, its way to the end.
  const cache::ImageProgress at_rest = {.trajectory = &trajectory,
                                        .next_scale = rest_scale};
  const std::int64_t one = cache::SafeCapacity({&at_rest, 1});
  const std::int64_t each = std::max<std::int64_t>(at_rest.blocks_held(), 1);
  cell.safe = one > limit_blocks ? 0 : 1 + (limit_blocks - one) / each;
  return cell;
}

absl::StatusOr<SimulationPlan> MakeSimulationPlan(
    const SimulationRequest& request) {
  RETURN_IF_ERROR(Check(request));
  SimulationPlan plan;
  ASSIGN_OR_RETURN(const Bench bench, ReadBench(request, &plan.notes));
  server::StepCostTable costs = server::ModeledCosts(bench.model.spec);
  if (!request.costs.empty()) {
    ASSIGN_OR_RETURN(costs, ReadStepCosts(request.costs, bench.model.spec));
  }
  plan.model = bench.model.spec.name;
  plan.costs = costs.source();
  plan.block_bytes = bench.model.geometry.block_bytes();
  if (request.capacity_table) {
    RETURN_IF_ERROR(FillCapacity(request, bench, &plan));
  }
  RETURN_IF_ERROR(FillRuns(request, bench, costs, &plan));
  return plan;
}

}  // namespace heatkv::client
