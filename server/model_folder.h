// The parts of a model folder that the server reads itself, beside the weights
// that the backend loads: what the model is, its profile, and its hash.
//
// Thread safety: stateless.

#ifndef SERVER_MODEL_FOLDER_H_
#define SERVER_MODEL_FOLDER_H_

#include <filesystem>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calibration/profile.h"
#include "model/api/model_spec.h"

namespace heatkv::server {

struct ModelFolder {
  std::filesystem::path path;
  model::ModelSpec spec;
  std::optional<calibration::Profile> profile;
};

// Reads model.yaml and the profile that it names.  Fails, naming the file, if
// one is missing or broken, or if the profile is of a model with other layers
// or heads or of another ladder.
absl::StatusOr<ModelFolder> OpenModelFolder(const std::filesystem::path& path);

// SHA-256 of the transformer's weight file, in hex; of several files, that of
// their hashes, one a line.  NotFound, naming the file, if one cannot be read.
absl::StatusOr<std::string> HashWeights(const ModelFolder& folder);

// Whether the profile, if there is one, was measured on the weights with this
// hash; InvalidArgument, naming both, if not.
absl::Status CheckProfileIsOf(const ModelFolder& folder,
                              const std::string& weights_sha256);

}  // namespace heatkv::server

#endif  // SERVER_MODEL_FOLDER_H_
