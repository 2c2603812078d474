// The parts of a model folder that the server reads itself, beside the weights
// that the backend loads: what the model is, its profile, and its hash.
//
// A model may run on random weights.  Then its folder needs nothing but a
// model.yaml: no profile was measured on such weights, so the ranking of heads
// is drawn as well, and instead of a hash there is a text that says so.
//
// Thread safety: stateless.

#ifndef SERVER_MODEL_FOLDER_H_
#define SERVER_MODEL_FOLDER_H_

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache/ranking.h"
#include "calibration/profile.h"
#include "model/api/model_spec.h"

namespace heatkv::server {

struct ModelFolder {
  std::filesystem::path path;
  model::ModelSpec spec;
  std::optional<calibration::Profile> profile;
  std::optional<std::uint64_t> random_weights;  // their seed
  std::optional<cache::Ranking> random_ranking;

  // Of its heads; null if nobody ranked them.
  const cache::Ranking* ranking() const {
    if (random_ranking.has_value()) return &*random_ranking;
    return profile.has_value() ? &profile->ranking : nullptr;
  }
};

// `model` itself if there is such a folder or it has a slash, else
// models/`model`.
std::filesystem::path FindModelFolder(const std::string& model);

// Reads model.yaml and the profile that it names.  Fails, naming the file, if
// one is missing or broken, or if the profile is of a model with other layers
// or heads or of another ladder.
absl::StatusOr<ModelFolder> OpenModelFolder(const std::filesystem::path& path);

// Reads model.yaml alone, for weights that are drawn from `seed`.
absl::StatusOr<ModelFolder> OpenModelWithRandomWeights(
    const std::filesystem::path& path, std::uint64_t seed);

// What weights the model has: the SHA-256 of the transformer's weight file, in
// hex; of several files, that of their hashes, one a line; or "random, seed N".
// NotFound, naming the file, if one cannot be read.
absl::StatusOr<std::string> DescribeWeights(const ModelFolder& folder);

// Whether the profile, if there is one, was measured on the weights with this
// hash; InvalidArgument, naming both, if not.
absl::Status CheckProfileIsOf(const ModelFolder& folder,
                              const std::string& weights_sha256);

}  // namespace heatkv::server

#endif  // SERVER_MODEL_FOLDER_H_
