#include "cache/image_cache.h"

#include <algorithm>
#include <utility>

namespace heatkv::cache {

ImageCache::ImageCache(Reservation reservation,
                       std::shared_ptr<const Schedule> schedule, int branches)
    : source_(std::move(reservation)),
      schedule_(std::move(schedule)),
      branches_(branches),
      heads_(static_cast<std::size_t>(schedule_->layers()) * schedule_->heads(),
             HeadBlocks(schedule_->ladder(), branches)) {}

ImageCache::~ImageCache() {
  for (HeadBlocks& head : heads_) head.Clear(&source_);
  source_.ReturnAside();
}

void ImageCache::AppendPrefixes(int layer, StepPlan* plan) const {
  for (int branch = 0; branch < branches_; ++branch) {
    for (int head = 0; head < schedule_->heads(); ++head) {
      at(layer, head).AppendPrefix(branch, &plan->prefix);
      plan->prefix_begin.push_back(
          static_cast<std::int32_t>(plan->prefix.size()));
    }
  }
}

void ImageCache::CompleteLayer(int scale, int layer, StepPlan* plan) {
  const ScaleLadder& ladder = schedule_->ladder();
  const bool is_last = scale == ladder.num_scales() - 1;
  for (int head = 0; head < schedule_->heads(); ++head) {
    if (is_last) {
      tokens_ -= at(layer, head).tokens();
      at(layer, head).Clear(&source_);
      continue;
    }
    const HeadIndex index{.layer = layer, .head = head};
    for (int s = ladder.first_prunable(); s < scale; ++s) {
      const Departure leaves = schedule_->departure(s, index);
      if (leaves.scale == scale && leaves.after_layer == layer) {
        DropAllBranches(s, index);
      }
    }
  }
  for (const EarlyDrop& drop : schedule_->early_drops(scale, layer)) {
    DropAllBranches(drop.source_scale, drop.head);
  }
  for (int branch = 0; branch < branches_; ++branch) {
    for (int head = 0; head < schedule_->heads(); ++head) {
      if (IsStored(scale, {.layer = layer, .head = head})) {
        at(layer, head)
            .Store(ladder, branch, scale, &source_,
                   plan == nullptr ? nullptr : &plan->store);
        tokens_ += ladder.tokens(scale);
      }
      if (plan != nullptr) {
        plan->store_begin.push_back(
            static_cast<std::int32_t>(plan->store.size()));
      }
    }
  }
}

bool ImageCache::IsStored(int scale, HeadIndex head) const {
  const ScaleLadder& ladder = schedule_->ladder();
  if (scale == ladder.num_scales() - 1) return false;
  return scale < ladder.sink_scales() ||
         schedule_->IsKeptAfter(scale, scale, head);
}

std::int64_t ImageCache::MostStored(int scale) const {
  std::int64_t heads = 0;
  for (int layer = 0; layer < schedule_->layers(); ++layer) {
    for (int head = 0; head < schedule_->heads(); ++head) {
      if (IsStored(scale, {.layer = layer, .head = head})) ++heads;
    }
  }
  // Whole blocks and the two ends of a run.
  return heads * branches_ *
         (schedule_->ladder().tokens(scale) / kBlockTokens + 2);
}

bool ImageCache::ReserveStep(std::int64_t blocks) {
  Reservation& reservation = source_.reservation();
  return reservation.blocks() >= blocks || reservation.GrowTo(blocks);
}

void ImageCache::FinishStep(std::int64_t blocks) {
  source_.ReturnAside();
  source_.reservation().ShrinkTo(blocks);
}

void ImageCache::DropAllBranches(int source_scale, HeadIndex head) {
  const ScaleLadder& ladder = schedule_->ladder();
  for (int branch = 0; branch < branches_; ++branch) {
    at(head.layer, head.head).Drop(ladder, branch, source_scale, &source_);
    tokens_ -= ladder.tokens(source_scale);
  }
}

}  // namespace heatkv::cache
