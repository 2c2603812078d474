#include "server/load_model.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/infinity_backend.h"

namespace heatkv::server {

absl::StatusOr<std::unique_ptr<model::ImageModel>> LoadModel(
    const ServingPlan& plan) {
  model::InfinityBackend::Options options;
  options.device = plan.config.device;
  options.threads = plan.config.threads;
  options.cache_dtype = plan.config.cache_dtype == CacheDtype::kFloat32
                            ? model::InfinityBackend::CacheDtype::kFloat32
                            : model::InfinityBackend::CacheDtype::kBFloat16;
  const std::string folder = plan.folder.path.string();
  auto model =
      model::InfinityBackend::Create(plan.folder.spec, folder, options);
  if (model.ok() || absl::StrContains(model.status().message(), folder)) {
    return model;
  }
  return absl::Status(model.status().code(),
                      absl::StrCat(folder, ": ", model.status().message()));
}

}  // namespace heatkv::server
