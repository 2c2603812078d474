#include "server/rpc/recipe.h"

namespace heatkv::server {

v1::Recipe MakeRecipe(const CallServices& services,
                      const ResolvedRequest& request, int tier, int image) {
  const GenerationRequest& generation = request.generation;
  const model::ModelSpec& spec = *services.rules.spec;
  const TierSpec& granted = generation.book->tiers()[tier];
  v1::Recipe recipe;
  recipe.set_model(spec.name);
  recipe.set_model_sha256(services.model_sha256);
  recipe.set_schedule_sha256(
      generation.book->plan(generation.ladder, tier).schedule_sha256);
  recipe.set_tier(granted.name);
  recipe.set_budget(granted.budget.fraction());
  recipe.set_prompt(generation.prompt);
  recipe.set_seed(generation.seeds[image]);
  recipe.set_aspect(spec.ladders[generation.ladder].aspect);
  recipe.set_pixel_class(spec.ladders[generation.ladder].pixel_class);
  recipe.set_width(request.width);
  recipe.set_height(request.height);
  recipe.set_guidance(generation.guidance);
  recipe.set_tau(generation.tau);
  recipe.set_top_p(generation.top_p);
  recipe.set_format(ToProto(request.encoding.format));
  if (request.encoding.format != ImageFormat::kPng) {
    recipe.set_quality(request.encoding.quality);
  }
  recipe.set_server_version(services.server_version);
  return recipe;
}

}  // namespace heatkv::server
