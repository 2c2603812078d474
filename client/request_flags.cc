#include "client/request_flags.h"

#include "CLI/CLI.hpp"
#include "client/request_fields.h"

namespace heatkv::client {

void AddRequestFlags(CLI::App& command, RequestFlags* flags) {
  command.add_option("prompt", flags->prompt, "What to paint");
  auto* seed = command.add_option("--seed", flags->seed, "Of the first image");
  command.add_option("--seeds", flags->seeds, "One for each image")
      ->delimiter(',')
      ->excludes(seed);
  command.add_option("--n", flags->n, "Number of images")
      ->check(CLI::Range(1, 1000));
  command.add_option("--tier", flags->tier, "Memory budget, by its name");
  command.add_option("--allow_down_to", flags->allow_down_to,
                     "Lowest tier that will do when memory is tight");
  command.add_option("--aspect", flags->aspect, "height:width, such as 1:1");
  command.add_option("--pixel_class", flags->pixel_class,
                     "Amount of pixels, by the model's name for it");
  command.add_option("--guidance", flags->guidance,
                     "Classifier-free guidance; 1 is none");
  command.add_option("--tau", flags->tau, "Temperature");
  command.add_option("--top_p", flags->top_p, "Nucleus");
  command.add_option("--quality", flags->quality, "Of JPEG and WebP, 1 to 100")
      ->check(CLI::Range(1, 100));
  command.add_option("--priority", flags->priority, "Among those that wait")
      ->check(CLI::IsMember({"low", "normal", "high"}));
  command.add_option("--tenant", flags->tenant, "On whose account");
  command.add_flag("--previews", flags->previews,
                   "Ask for a preview after every scale");
  command
      .add_option("--preview_scales", flags->preview_scales,
                  "Ask for previews after these scales, such as 4,6")
      ->delimiter(',');
  command.add_option("--preview_edge", flags->preview_edge,
                     "Longest side of previews in pixels");
  command.add_option("--request_id", flags->request_id,
                     "Name of the request in the server's log");
}

v1::GenerateImageRequest MakeRequest(const RequestFlags& flags,
                                     v1::ImageFormat format) {
  v1::GenerateImageRequest request;
  request.set_prompt(flags.prompt);
  request.set_n(flags.n);
  if (!flags.aspect.empty()) request.mutable_size()->set_aspect(flags.aspect);
  if (!flags.pixel_class.empty()) {
    request.mutable_size()->set_pixel_class(flags.pixel_class);
  }
  if (flags.seed.has_value()) request.set_seed(*flags.seed);
  for (const std::uint64_t seed : flags.seeds) request.add_seeds(seed);
  if (flags.guidance.has_value()) request.set_guidance(*flags.guidance);
  if (flags.tau.has_value()) request.set_tau(*flags.tau);
  if (flags.top_p.has_value()) request.set_top_p(*flags.top_p);
  request.set_tier(flags.tier);
  if (!flags.allow_down_to.empty()) {
    request.mutable_memory_policy()->set_allow_down_to(flags.allow_down_to);
  }
  if (v1::Priority priority; ReadPriority(flags.priority, &priority)) {
    request.set_priority(priority);
  }
  request.set_tenant(flags.tenant);
  request.set_format(format);
  request.set_quality(flags.quality);
  request.set_request_id(flags.request_id);
  if (flags.previews || !flags.preview_scales.empty()) {
    v1::PreviewOptions& previews = *request.mutable_previews();
    previews.set_every_scale(flags.previews);
    for (const int scale : flags.preview_scales) previews.add_scales(scale);
    previews.set_max_edge(flags.preview_edge);
  }
  return request;
}

}  // namespace heatkv::client
