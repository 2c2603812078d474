// The model's knobs for the images of a request, but for their seeds.

#ifndef SERVER_ENGINE_KNOBS_H_
#define SERVER_ENGINE_KNOBS_H_

#include "model/api/image_model.h"
#include "server/engine/request.h"

namespace heatkv::server {

inline model::SamplingKnobs MakeKnobs(const GenerationRequest& request,
                                      int scales) {
  model::SamplingKnobs knobs;
  knobs.guidance.assign(scales, static_cast<float>(request.guidance));
  knobs.tau.assign(scales, static_cast<float>(request.tau));
  knobs.top_p = static_cast<float>(request.top_p);
  return knobs;
}

}  // namespace heatkv::server

#endif  // SERVER_ENGINE_KNOBS_H_
