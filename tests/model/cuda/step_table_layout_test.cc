// Tables of random groups against a builder that takes every list apart, and
// against what the plans say.

#include "model/cuda/step_table_layout.h"

#include <memory>
#include <utility>
#include <vector>

#include "cache/block_lists.h"
#include "cache/heatkv_solver.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache/random_case.h"

namespace heatkv::model {
namespace {

using cache::BlockSpan;
using cache::StepPlan;
using kernels::RowText;

struct Reference {
  std::vector<std::int32_t> values;
  std::int64_t staging_rows = 0;
};

void Append(const std::vector<std::int32_t>& part,
            std::vector<std::int32_t>* values) {
  values->insert(values->end(), part.begin(), part.end());
}

void PadToEven(std::vector<std::int32_t>* values) {
  if (values->size() % 2 == 1) values->push_back(0);
}

// The table in the order of its parts: one list after the other, each of them a
// vector of its own.
Reference Build(const std::vector<const StepPlan*>& plans,
                const GroupShape& shape, const std::vector<RowText>& texts) {
  Reference table;
  const auto tokens = static_cast<std::int32_t>(shape.tokens);
  const int rows = shape.capacity * shape.branches;
  const int sequences = rows * shape.heads;
  for (int i = 0; i <= sequences; ++i) table.values.push_back(i * tokens);
  while (table.values.size() % 4 != 0) table.values.push_back(0);
  for (const RowText& text : texts) {
    const auto place = reinterpret_cast<std::uint64_t>(text.keys_values);
    Append({static_cast<std::int32_t>(place),
            static_cast<std::int32_t>(place >> 32), text.tokens, text.room},
           &table.values);
  }

  struct Layer {
    std::vector<std::int32_t> key_begin, current, prefixes, stores;
  };
  std::vector<Layer> layers(shape.layers);
  for (int l = 0; l < shape.layers; ++l) {
    Layer& layer = layers[l];
    std::int32_t row = 0;
    for (int slot = 0; slot < shape.capacity; ++slot) {
      for (int branch = 0; branch < shape.branches; ++branch) {
        for (int head = 0; head < shape.heads; ++head) {
          layer.key_begin.push_back(row);
          if (slot < static_cast<int>(plans.size())) {
            const StepPlan& plan = *plans[slot];
            for (const BlockSpan& span :
                 plan.prefix_of(plan.row(l, branch, head))) {
              Append({span.block * 32 + span.first, row, span.tokens},
                     &layer.prefixes);
              row += span.tokens;
            }
            std::int32_t stored = row;
            for (const BlockSpan& span :
                 plan.store_of(plan.row(l, branch, head))) {
              Append({span.block * 32 + span.first, stored, span.tokens},
                     &layer.stores);
              stored += span.tokens;
            }
          }
          layer.current.push_back(row);
          row += tokens;
        }
      }
    }
    layer.key_begin.push_back(row);
    table.staging_rows = std::max<std::int64_t>(table.staging_rows, row);
  }
  std::size_t layer_size = 4 + 2 * sequences + 1;
  layer_size += layer_size % 2;
  std::size_t begin = table.values.size() + layers.size() * layer_size;
  for (const Layer& layer : layers) {
    for (const auto* list : {&layer.prefixes, &layer.stores}) {
      table.values.push_back(static_cast<std::int32_t>(begin));
      table.values.push_back(static_cast<std::int32_t>(list->size() / 3));
      begin += list->size();
    }
    Append(layer.key_begin, &table.values);
    Append(layer.current, &table.values);
    PadToEven(&table.values);
  }
  for (const Layer& layer : layers) {
    Append(layer.prefixes, &table.values);
    Append(layer.stores, &table.values);
  }
  return table;
}

// Some images of one trajectory that go through all scales together.
TEST(StepTableLayoutTest, RandomGroupsGetTheTablesOfTheReference) {
  int steps = 0;
  for (int seed = 0; seed < 300; ++seed) {
    const cache::RandomCase c = cache::MakeRandomCase(seed);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << c.ToString());
    auto schedule = cache::SolveHeatKv(c.ladder, c.geometry.layers,
                                       c.geometry.heads, c.ranking, c.budget);
    if (!schedule.ok()) continue;
    const auto trajectory = std::make_shared<const cache::Trajectory>(
        std::make_shared<const cache::Schedule>(*std::move(schedule)),
        c.geometry, c.branches);
    cache::Dice dice(seed);
    const int capacity = dice.Int(1, 4);
    const int images = dice.Int(1, capacity);
    cache::BlockPool pool(images * trajectory->peak_blocks());
    std::vector<std::unique_ptr<cache::BlockLists>> lists;
    for (int i = 0; i < images; ++i) {
      lists.push_back(std::make_unique<cache::BlockLists>(&pool, trajectory));
    }
    std::vector<std::int64_t> earlier;
    for (int scale = 0; scale < c.ladder.num_scales(); ++scale) {
      std::vector<StepPlan> plans;
      plans.reserve(images);
      std::vector<const StepPlan*> members;
      for (const auto& list : lists) {
        plans.push_back(list->PlanStep(scale));
        members.push_back(&plans.back());
      }
      std::vector<RowText> texts;
      for (int row = 0; row < capacity * c.branches; ++row) {
        const auto place = (std::uint64_t{0xfedc} << 32) + dice.Int(0, 50) * 16;
        texts.push_back({.keys_values = reinterpret_cast<const void*>(place),
                         .tokens = dice.Int(1, 9),
                         .room = dice.Int(9, 20)});
      }
      const GroupShape shape{.capacity = capacity,
                             .branches = c.branches,
                             .layers = c.geometry.layers,
                             .heads = c.geometry.heads,
                             .tokens = c.ladder.tokens(scale),
                             .earlier = earlier,
                             .is_last = scale + 1 == c.ladder.num_scales()};
      const StepTableLayout layout(shape);
      const Reference expected = Build(members, shape, texts);
      ASSERT_EQ(layout.Values(members), expected.values.size());
      EXPECT_LE(layout.Values(members), layout.MostValues());
      // Room to spare stays as it is.
      std::vector<std::int32_t> values(expected.values.size() + 5, 0);
      values.back() = 77;
      EXPECT_EQ(layout.Write(members, texts, values), expected.staging_rows);
      EXPECT_EQ(values.back(), 77);
      values.resize(expected.values.size());
      ASSERT_EQ(values, expected.values);
      ++steps;
      earlier.push_back(c.ladder.tokens(scale));
      for (const auto& list : lists) list->FinishStep();
    }
  }
  EXPECT_GT(steps, 1000);
}

// A full cache, whose sequences are the longest.
TEST(StepTableLayoutTest, NoScheduleNeedsMoreThanTheMostValues) {
  const cache::ScaleLadder ladder = cache::InfinityLadder();
  const cache::CacheGeometry geometry{
      .layers = 2, .heads = 3, .head_width = 8, .bytes_per_value = 2};
  const auto trajectory = std::make_shared<const cache::Trajectory>(
      std::make_shared<const cache::Schedule>(
          cache::FullSchedule(ladder, geometry.layers, geometry.heads)),
      geometry, 2);
  cache::BlockPool pool(trajectory->peak_blocks());
  cache::BlockLists lists(&pool, trajectory);
  std::vector<std::int64_t> earlier;
  for (int scale = 0; scale < ladder.num_scales(); ++scale) {
    const StepPlan plan = lists.PlanStep(scale);
    const StepPlan* const member = &plan;
    const StepTableLayout layout({.capacity = 1,
                                  .branches = 2,
                                  .layers = geometry.layers,
                                  .heads = geometry.heads,
                                  .tokens = ladder.tokens(scale),
                                  .earlier = earlier,
                                  .is_last = scale + 1 == ladder.num_scales()});
    EXPECT_LE(layout.Values({&member, 1}), layout.MostValues()) << scale;
    EXPECT_LE(layout.MostValues(), 4 * layout.Values({&member, 1}) + 200)
        << scale;
    // Nothing comes before the first scale, nothing outlives the last.
    EXPECT_EQ(layout.MostPrefixSpans() == 0, scale == 0);
    EXPECT_EQ(layout.MostStoreSpans() == 0, scale + 1 == ladder.num_scales());
    earlier.push_back(ladder.tokens(scale));
    lists.FinishStep();
  }
}

TEST(StepTableLayoutDeathTest, PlanOfAnotherShapeIsABug) {
  StepPlan plan;
  plan.branches = 1;
  plan.layers = 1;
  plan.heads = 2;
  plan.prefix_begin.assign(3, 0);
  plan.store_begin.assign(3, 0);
  const StepPlan* const member = &plan;
  const StepTableLayout layout(
      {.capacity = 1, .branches = 1, .layers = 1, .heads = 3, .tokens = 4});
  std::vector<std::int32_t> values(1000);
  const std::vector<RowText> texts(1);
  EXPECT_DEATH((void)layout.Write({&member, 1}, texts, values), "heads");
}

// A step that expects no spans has no blocks that would copy them.
TEST(StepTableLayoutDeathTest, SpansThatTheShapeRulesOutAreABug) {
  StepPlan plan;
  plan.branches = 1;
  plan.layers = 1;
  plan.heads = 1;
  plan.prefix = {{.block = 2, .first = 0, .tokens = 3}};
  plan.prefix_begin = {0, 1};
  plan.store = {{.block = 1, .first = 0, .tokens = 4}};
  plan.store_begin = {0, 1};
  const StepPlan* const member = &plan;
  GroupShape shape{
      .capacity = 1, .branches = 1, .layers = 1, .heads = 1, .tokens = 4};
  std::vector<std::int32_t> values(1000);
  const std::vector<RowText> texts(1);
  EXPECT_DEATH((void)StepTableLayout(shape).Write({&member, 1}, texts, values),
               "prefixes");
  shape.earlier = {3};
  EXPECT_EQ(StepTableLayout(shape).Write({&member, 1}, texts, values), 7);
  shape.is_last = true;
  EXPECT_DEATH((void)StepTableLayout(shape).Write({&member, 1}, texts, values),
               "stores");
}

TEST(StepTableLayoutDeathTest, RowThatStoresSomeOfItsTokensIsABug) {
  StepPlan plan;
  plan.branches = 1;
  plan.layers = 1;
  plan.heads = 1;
  plan.prefix_begin = {0, 0};
  plan.store = {{.block = 1, .first = 0, .tokens = 3}};
  plan.store_begin = {0, 1};
  const StepPlan* const member = &plan;
  const StepTableLayout layout(
      {.capacity = 1, .branches = 1, .layers = 1, .heads = 1, .tokens = 4});
  std::vector<std::int32_t> values(1000);
  const std::vector<RowText> texts(1);
  EXPECT_DEATH((void)layout.Write({&member, 1}, texts, values),
               "stores 3 of 4 tokens");
}

}  // namespace
}  // namespace heatkv::model
