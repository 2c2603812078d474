#include "cache/block_lists.h"

#include <utility>

#include "base/check.h"

namespace heatkv::cache {

BlockLists::BlockLists(BlockPool* pool,
                       std::shared_ptr<const Trajectory> trajectory)
    : trajectory_(std::move(trajectory)),
      cache_(*pool->Reserve(0), trajectory_->schedule(),
             trajectory_->branches()) {}

StepPlan BlockLists::PlanStep(int scale) {
  const Schedule& schedule = *trajectory_->schedule();
  HEATKV_CHECK_EQ(scale, next_scale_);
  HEATKV_CHECK_LT(scale, schedule.ladder().num_scales());
  HEATKV_CHECK(!step_is_open_) << "scale " << scale - 1 << " is not finished";

  HEATKV_CHECK(cache_.ReserveStep(trajectory_->blocks_peak(scale)))
      << "scale " << scale << " needs " << trajectory_->blocks_peak(scale)
      << " blocks and holds " << blocks_used();

  StepPlan plan;
  plan.scale = scale;
  plan.branches = trajectory_->branches();
  plan.layers = schedule.layers();
  plan.heads = schedule.heads();
  plan.prefix_begin.reserve(plan.rows() + 1);
  plan.store_begin.reserve(plan.rows() + 1);
  // Most spans are whole blocks; those that are not are few in a row.
  plan.prefix.reserve(cache_.blocks_held() + 2 * plan.rows());
  plan.store.reserve(cache_.MostStored(scale));
  plan.prefix_begin.push_back(0);
  plan.store_begin.push_back(0);
  plan.blocks_before = blocks_held();
  for (int layer = 0; layer < schedule.layers(); ++layer) {
    cache_.AppendPrefixes(layer, &plan);
    cache_.CompleteLayer(scale, layer, &plan);
  }
  // Nothing returned to the pool meanwhile, so the most is what is used now.
  plan.blocks_peak = blocks_used();
  plan.blocks_after = blocks_held();

  ++next_scale_;
  step_is_open_ = true;
  return plan;
}

void BlockLists::FinishStep() {
  HEATKV_CHECK(step_is_open_);
  step_is_open_ = false;
  cache_.FinishStep(trajectory_->blocks_before(next_scale_));
}

}  // namespace heatkv::cache
