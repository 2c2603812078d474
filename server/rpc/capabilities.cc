#include "server/rpc/capabilities.h"

#include <memory>
#include <string>

namespace heatkv::server {
namespace {

v1::TierCost DescribeTier(const TierSpec& tier, const TierPlan& plan,
                          std::int64_t pool_blocks) {
  v1::TierCost cost;
  cost.set_tier(tier.name);
  cost.set_schedule_sha256(plan.schedule_sha256);
  cost.set_peak_bytes_guided(plan.guided->peak_bytes());
  cost.set_peak_bytes_unguided(plan.unguided->peak_bytes());
  cost.set_fits_guided(pool_blocks / plan.guided->peak_blocks());
  return cost;
}

v1::SizeCapability DescribeSize(const model::ModelSpec& spec, int index,
                                const ScheduleBook& book,
                                std::int64_t pool_blocks) {
  const model::LadderSpec& ladder = spec.ladders[index];
  v1::SizeCapability size;
  size.set_aspect(ladder.aspect);
  size.set_pixel_class(ladder.pixel_class);
  size.set_width(WidthOf(spec, ladder));
  size.set_height(HeightOf(spec, ladder));
  for (const cache::Grid& grid : ladder.ladder.grids()) {
    v1::Scale& scale = *size.add_scales();
    scale.set_height(grid.height);
    scale.set_width(grid.width);
  }
  size.set_full_cache_bytes_guided(
      book.plan(index, 0).guided->full_cache_bytes());
  for (std::size_t t = 0; t < book.tiers().size(); ++t) {
    *size.add_tiers() =
        DescribeTier(book.tiers()[t], book.plan(index, t), pool_blocks);
  }
  return size;
}

}  // namespace

v1::GetCapabilitiesResponse DescribeCapabilities(const CallServices& services) {
  const RequestRules& rules = services.rules;
  const model::ModelSpec& spec = *rules.spec;
  const TierOffer offer = rules.offer();
  const ScheduleBook& book = *offer.book;
  const SchedulerOptions options = services.engine->scheduler_options();
  // Of all devices together.
  const std::int64_t pool_blocks =
      services.engine->devices() * options.limit_blocks;
  v1::GetCapabilitiesResponse response;
  v1::ModelCapability& model = *response.add_models();
  model.set_name(spec.name);
  model.set_description(spec.description);
  model.set_model_sha256(services.model_sha256);
  for (std::size_t i = 0; i < spec.ladders.size(); ++i) {
    *model.add_sizes() = DescribeSize(spec, i, book, pool_blocks);
  }
  model.set_default_guidance(spec.defaults.guidance);
  model.set_default_tau(spec.defaults.tau);
  model.set_default_top_p(spec.defaults.top_p);
  model.set_max_prompt_tokens(spec.tokenizer.max_length);
  for (const TierSpec& spec_of_tier : book.tiers()) {
    v1::Tier& tier = *response.add_tiers();
    tier.set_name(spec_of_tier.name);
    tier.set_budget(spec_of_tier.budget.fraction());
    tier.set_is_default(spec_of_tier.name == offer.default_tier);
  }
  for (const v1::ImageFormat format :
       {v1::IMAGE_FORMAT_PNG, v1::IMAGE_FORMAT_JPEG, v1::IMAGE_FORMAT_WEBP}) {
    response.add_formats(format);
  }
  v1::Limits& limits = *response.mutable_limits();
  limits.set_max_images(rules.max_images);
  limits.set_max_prompt_bytes(rules.max_prompt_bytes);
  limits.set_max_queued_requests(options.queue.max_requests);
  limits.set_pool_bytes(pool_blocks * book.geometry().block_bytes());
  response.set_server_version(services.server_version);
  return response;
}

}  // namespace heatkv::server
