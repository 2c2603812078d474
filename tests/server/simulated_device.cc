#include "tests/server/simulated_device.h"

#include <utility>

#include "tests/cache/random_case.h"

namespace heatkv::server {
namespace {

constexpr cache::CacheGeometry kGeometry = {
    .layers = 4, .heads = 3, .head_width = 8, .bytes_per_value = 2};

model::ModelSpec Spec() {
  model::ModelSpec spec;
  spec.name = "small";
  spec.transformer.depth = kGeometry.layers;
  spec.transformer.heads = kGeometry.heads;
  spec.transformer.width = kGeometry.heads * kGeometry.head_width;
  spec.transformer.mlp_width = 4 * spec.transformer.width;
  spec.vae.channel_multipliers = {1, 1, 2};
  spec.group_rows = 36;
  spec.ladders.push_back(
      {.aspect = "1:1",
       .pixel_class = "large",
       .rope_grid = {8, 8},
       .ladder = cache::SquareLadder({1, 2, 3, 4, 6, 8}, 1)});
  spec.ladders.push_back({.aspect = "1:1",
                          .pixel_class = "small",
                          .rope_grid = {8, 8},
                          .ladder = cache::SquareLadder({1, 2, 3, 4}, 1)});
  return spec;
}

ScheduleBook Book(const model::ModelSpec& spec) {
  const cache::Ranking ranking = cache::RandomRanking(
      spec.ladders[0].ladder, kGeometry.layers, kGeometry.heads, 3);
  return *ScheduleBook::Create(
      spec, kGeometry, &ranking,
      {{.name = "full"},
       {.name = "half", .budget = *cache::Budget::Create(0.5)},
       {.name = "quarter", .budget = *cache::Budget::Create(0.25)}},
      [](const cache::Schedule&) { return std::string("-"); });
}

// Scale s takes s + 1 ms, whatever the branches and images; decoding 10, 5 ms.
StepCostTable Costs(const model::ModelSpec& spec) {
  std::vector<StepCostTable::LadderCosts> ladders;
  for (const model::LadderSpec& ladder : spec.ladders) {
    StepCostTable::LadderCosts costs;
    costs.decode = absl::Milliseconds(ladders.empty() ? 10 : 5);
    for (auto& steps : costs.steps) {
      for (int s = 0; s < ladder.ladder.num_scales(); ++s) {
        steps.push_back({absl::Milliseconds(s + 1)});
      }
    }
    ladders.push_back(std::move(costs));
  }
  return *StepCostTable::Create(spec, std::move(ladders), absl::Milliseconds(2),
                                "invented");
}

}  // namespace

SimulatedDevice::SimulatedDevice()
    : spec_(Spec()), book_(Book(spec_)), costs_(Costs(spec_)) {}

TierChoice SimulatedDevice::Choice(int ladder, int tier, int branches) const {
  return {.tier = tier,
          .trajectory = book_.plan(ladder, tier).trajectory(branches)};
}

RequestKind SimulatedDevice::Kind(int ladder, std::vector<int> tiers,
                                  int images) const {
  RequestKind kind;
  kind.ladder = ladder;
  kind.images = images;
  for (const int tier : tiers) kind.choices.push_back(Choice(ladder, tier));
  return kind;
}

SimulationInput SimulatedDevice::Input(std::int64_t blocks) const {
  SimulationInput input;
  input.scheduler.limit_blocks = blocks;
  input.scheduler.queue.max_requests = 1 << 20;
  input.scheduler.queue.max_bytes = std::int64_t{1} << 50;
  input.capacity = [spec = spec_](int ladder, int scale, int branches) {
    return model::GroupCapacity(spec, ladder, scale, branches);
  };
  input.costs = &costs_;
  return input;
}

RequestSource Listed(std::vector<SimulatedRequest> requests) {
  return [requests = std::move(requests),
          next = std::size_t{0}]() mutable -> std::optional<SimulatedRequest> {
    if (next == requests.size()) return std::nullopt;
    return requests[next++];
  };
}

}  // namespace heatkv::server
